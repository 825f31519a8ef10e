use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::ServiceLimits;
use realtime_core::{
    Context, DeliveryConfig, HandlerError, Inbound, Limits, OutboxConfig, Payload, RoomDelivery, Router, WindowConfig,
    setters,
};

type Handled = Pin<Box<dyn Future<Output = Result<Option<Payload>, HandlerError>> + Send>>;

/// The settings of a provider that a test starts. A harness copies all of them into the provider's
/// configuration.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Setup {
    /// The limits, outbox, window, event size and write stall; the window holds 256 MiB.
    pub delivery: DeliveryConfig,
    /// The receivers of a send to a room: always the members, also if the provider's default is
    /// another.
    pub room_delivery: RoomDelivery,
    /// The handlers of events from clients; only for bidirectional providers. If a provider takes
    /// handlers one by one, its fallback can be [`Setup::fallback`].
    pub router: Router,
    /// The limits of the service, none by default; the suite sets them itself.
    pub service: ServiceLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            delivery: DeliveryConfig::default().with_window(WindowConfig::default().with_bytes(256 * 1024 * 1024)),
            room_delivery: RoomDelivery::Members,
            router: Router::new(),
            service: ServiceLimits::none(),
        }
    }
}

setters! {
    impl Setup {
        /// Sets the limits on connections.
        with_limits(limits: Limits) in delivery;
        /// Sets the bound of one connection's outbox.
        with_outbox(outbox: OutboxConfig) in delivery;
        /// Sets the bound of the window.
        with_window(window: WindowConfig) in delivery;
        /// Sets the largest payload of an event, in bytes; default 16 MiB.
        with_max_event_bytes(max_event_bytes: usize) in delivery;
        /// Sets the longest time that a client may make no progress; default 30 s.
        with_write_stall(write_stall: Duration) in delivery;
        /// Sets how long before an expiry a client is notified; default 60 s.
        with_expiry_notice(expiry_notice: Duration) in delivery;
        /// Sets the handlers.
        with_router(router: Router);
        /// Sets the limits of the service.
        with_service(service: ServiceLimits);
    }
}

impl Setup {
    /// Returns a handler that passes every event to [`Setup::router`], for a provider's fallback.
    pub fn fallback(&self) -> impl Fn(Context, Inbound) -> Handled + Send + Sync + use<> {
        let router = Arc::new(self.router.clone());
        move |cx, inbound| {
            let router = Arc::clone(&router);
            Box::pin(async move { router.handle(cx, inbound).await })
        }
    }
}
