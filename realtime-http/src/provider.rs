use std::any::Any;
use std::sync::Arc;

use realtime_core::RealtimeProvider;

use crate::origin::ProviderOrigins;
use crate::proxies::TrustedProxies;

/// A provider that is reached over HTTP and has its own routes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a provider with routes",
    label = "expected a provider, such as `WsProvider`",
    note = "give the provider itself: `.provider(WsProvider::new(WsConfig::default()))`; the service returns it with `service.ws()?`",
    note = "give anything else, such as a mock or an `Arc` of a provider, to `.custom(…)`, which adds no routes"
)]
pub trait HttpProvider: RealtimeProvider + Any + 'static {
    /// Returns the provider's routes, to be merged into the application's.
    fn router(self: Arc<Self>) -> axum::Router;

    /// Returns the paths of the routes, as they are in the router, so that a service can reject two
    /// providers that conflict ([`check_paths`](crate::spi::check_paths)). By default none.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the pages that may connect: a service sets its own for a provider whose
    /// configuration names none, before the provider is attached, and logs them. By default `None`.
    fn origins(&self) -> Option<&ProviderOrigins> {
        None
    }

    /// Returns the reverse proxies that may report a client's address, by which a service counts
    /// its other requests too. By default `None`.
    fn trusted_proxies(&self) -> Option<&TrustedProxies> {
        None
    }

    /// Returns whether the provider accepts connections and sends: it is attached, its log
    /// readable, and it is not shutting down.
    fn is_ready(&self) -> bool;
}
