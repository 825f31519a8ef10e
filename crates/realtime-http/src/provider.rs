use std::any::Any;
use std::sync::Arc;

use realtime_core::RealtimeProvider;

/// A provider that is reached over HTTP: it brings its own routes.
pub trait HttpProvider: RealtimeProvider + Any + 'static {
    /// Its routes, to be merged into the application's.
    fn router(self: Arc<Self>) -> axum::Router;

    /// Whether it takes connections and sends: attached, its log readable, not shutting down.
    fn is_ready(&self) -> bool;
}
