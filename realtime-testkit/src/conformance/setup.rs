use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::{
    Context, HandlerError, Inbound, Limits, OutboxConfig, Payload, RoomDelivery, Router, WindowConfig,
};

type Handled = Pin<Box<dyn Future<Output = Result<Option<Payload>, HandlerError>> + Send>>;

/// The settings of a provider that a test starts. A harness copies all of them into the provider's
/// configuration.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Setup {
    /// The limits on connections.
    pub limits: Limits,
    /// The bound of one connection's outbox.
    pub outbox: OutboxConfig,
    /// The bound of the window.
    pub window: WindowConfig,
    /// The largest payload of an event, in bytes; default 16 MiB.
    pub max_event_bytes: usize,
    /// The receivers of a send to a room: always the members, also if the provider's default is
    /// another.
    pub room_delivery: RoomDelivery,
    /// The longest time that a client may read nothing; default 30 s.
    pub write_stall: Duration,
    /// The handlers of events from clients; only for bidirectional providers. If a provider takes
    /// handlers one by one, its fallback can be [`Setup::fallback`].
    pub router: Router,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            outbox: OutboxConfig::default(),
            window: WindowConfig::default().with_bytes(256 * 1024 * 1024),
            max_event_bytes: 16 * 1024 * 1024,
            room_delivery: RoomDelivery::Members,
            write_stall: Duration::from_secs(30),
            router: Router::new(),
        }
    }
}

impl Setup {
    /// Sets the limits on connections.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the bound of one connection's outbox.
    pub fn with_outbox(mut self, outbox: OutboxConfig) -> Self {
        self.outbox = outbox;
        self
    }

    /// Sets the bound of the window.
    pub fn with_window(mut self, window: WindowConfig) -> Self {
        self.window = window;
        self
    }

    /// Sets the largest payload of an event, in bytes.
    pub fn with_max_event_bytes(mut self, most: usize) -> Self {
        self.max_event_bytes = most;
        self
    }

    /// Sets the handlers.
    pub fn with_router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Returns a handler that passes every event to [`Setup::router`], for a provider's fallback.
    pub fn fallback(&self) -> impl Fn(Context, Inbound) -> Handled + Send + Sync + use<> {
        let router = Arc::new(self.router.clone());
        move |cx, inbound| {
            let router = Arc::clone(&router);
            Box::pin(async move { router.handle(cx, inbound).await })
        }
    }
}
