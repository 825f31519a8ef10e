use std::time::Duration;

use realtime_core::{Limits, OutboxConfig, RoomDelivery, Router, WindowConfig};

/// What a test asks of the provider it starts. A harness passes all of it on to the provider's configuration.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many connections it takes.
    pub limits: Limits,
    /// The bound of one connection's outbox.
    pub outbox: OutboxConfig,
    /// The bound of the window.
    pub window: WindowConfig,
    /// The largest payload of an event, in bytes; 16 MiB.
    pub max_event_bytes: usize,
    /// Who sees what is sent to a room: always the members, also where the provider's default is another.
    pub room_delivery: RoomDelivery,
    /// How long a client may take nothing; 30 s.
    pub write_stall: Duration,
    /// Handles what clients send; only for bidirectional providers. Where a provider takes handlers one by one, its
    /// fallback can hand every event to [`Router::handle`].
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
    /// With these limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// With this bound of an outbox.
    pub fn with_outbox(mut self, outbox: OutboxConfig) -> Self {
        self.outbox = outbox;
        self
    }

    /// With this bound of the window.
    pub fn with_window(mut self, window: WindowConfig) -> Self {
        self.window = window;
        self
    }

    /// With this largest payload.
    pub fn with_max_event_bytes(mut self, most: usize) -> Self {
        self.max_event_bytes = most;
        self
    }

    /// With these handlers.
    pub fn with_router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }
}
