//! The listeners that a service is served on.

pub(crate) mod guards;

use realtime_http::{Guard, ListenerStats};

use crate::service::NotificationService;

impl NotificationService {
    /// Adds the connections of a listener to [`NotificationService::listener_stats`] and to the
    /// metrics: call it once with the guard of each server that serves this service's routes,
    /// [`Serve::guard`](realtime_http::Serve::guard) after its configuration is set, or
    /// [`GuardedListener::guard`](realtime_http::GuardedListener::guard).
    /// [`NotificationService::serve`] does it by itself.
    pub fn observe_listener(&self, guard: &Guard) {
        self.listeners().add(guard.clone());
    }

    /// Returns the connections of this service's listeners, and what they ended by themselves: what
    /// connects and never becomes a connection of a provider is counted here alone.
    #[must_use]
    pub fn listener_stats(&self) -> ListenerStats {
        self.listeners().stats()
    }
}
