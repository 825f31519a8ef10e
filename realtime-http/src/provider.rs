use std::any::Any;
use std::sync::Arc;

use realtime_core::RealtimeProvider;

use crate::origin::Origins;

/// A provider that is reached over HTTP: it brings its own routes.
pub trait HttpProvider: RealtimeProvider + Any + 'static {
    /// Its routes, to be merged into the application's.
    fn router(self: Arc<Self>) -> axum::Router;

    /// The paths of its routes, as they stand in the router, so that a service can refuse two providers that are in each
    /// other's way ([`check_paths`](crate::check_paths)). By default none is told.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes the pages that may connect with every provider of its service, for a provider whose own configuration names none;
    /// called before it is attached. By default it is ignored.
    fn set_default_origins(&self, origins: &Origins) {
        let _ = origins;
    }

    /// Which pages may connect, for the log. By default that is not told.
    fn origins(&self) -> Option<&Origins> {
        None
    }

    /// Whether it takes connections and sends: attached, its log readable, not shutting down.
    fn is_ready(&self) -> bool;
}
