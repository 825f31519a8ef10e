use std::time::Duration;

use crate::values::capabilities::Capabilities;
use crate::values::error::{Error, Result};
use crate::values::inbound_rate::InboundRate;

/// The capacity of a provider on this node. A zero is rejected when the provider is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_user: usize,
    pub(crate) rooms_per_connection: usize,
    pub(crate) handlers: Option<usize>,
    pub(crate) handlers_per_user: Option<usize>,
    pub(crate) handlers_per_tenant: Option<usize>,
    pub(crate) lingering_hooks: Option<usize>,
    pub(crate) inbound_per_connection: InboundRate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_user: 10,
            rooms_per_connection: 100,
            handlers: None,
            handlers_per_user: None,
            handlers_per_tenant: None,
            lingering_hooks: None,
            inbound_per_connection: InboundRate::default(),
        }
    }
}

setters! {
    impl Limits {
        /// Sets the number of connections in all; default 100,000. One more is rejected with 503.
        with_connections(connections: usize);
        /// Sets the number of connections of one user, of one tenant, with one provider; default
        /// 10. A connection above the limit gets a time after which to try again, while the
        /// existing ones are probed and closed if they do not respond.
        with_connections_per_user(connections_per_user: usize);
        /// Sets the number of rooms that one connection is in because its client named them, when
        /// it connected or later; default 100. One more is rejected. Rooms that the server joins
        /// its user to do not count.
        with_rooms_per_connection(rooms_per_connection: usize);
        /// Sets how many handlers run at a time, those of closed connections included; default as
        /// many as [connections](Self::with_connections). Further events wait, those of the
        /// connection that has waited for longest come first.
        with_handlers(handlers: impl Into<Option<usize>>);
        /// Sets how many handlers run for one user, of one tenant; default as many as
        /// [connections](Self::with_connections_per_user).
        with_handlers_per_user(handlers_per_user: impl Into<Option<usize>>);
        /// Sets how many handlers run for one tenant; default half of [all](Self::with_handlers),
        /// so that another tenant's always find some.
        with_handlers_per_tenant(handlers_per_tenant: impl Into<Option<usize>>);
        /// Sets how many connections that are closed may still have hooks to run, `on_connected` or
        /// `on_disconnected`; default as many as [connections](Self::with_connections). Beyond, new
        /// connections are rejected with 503 until some have run.
        with_lingering_hooks(lingering_hooks: impl Into<Option<usize>>);
        /// Sets the rate at which messages and bytes are taken from one connection; default 500 and
        /// 4 MiB per second. A client that sends more is read more slowly, and closed after 30 s of
        /// it.
        with_inbound_per_connection(inbound_per_connection: InboundRate);
    }
}

impl Limits {
    /// Returns the number of connections in all.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the number of connections of one user.
    #[must_use]
    pub fn connections_per_user(&self) -> usize {
        self.connections_per_user
    }

    /// Returns the number of rooms that one client may name.
    #[must_use]
    pub fn rooms_per_connection(&self) -> usize {
        self.rooms_per_connection
    }

    /// Returns the number of handlers that run at a time.
    #[must_use]
    pub fn handlers(&self) -> usize {
        self.handlers.unwrap_or(self.connections)
    }

    /// Returns the number of handlers that run at a time for one user.
    #[must_use]
    pub fn handlers_per_user(&self) -> usize {
        self.handlers_per_user.unwrap_or(self.connections_per_user)
    }

    /// Returns the number of handlers that run at a time for one tenant.
    #[must_use]
    pub fn handlers_per_tenant(&self) -> usize {
        self.handlers_per_tenant.unwrap_or((self.handlers() / 2).max(1))
    }

    /// Returns the number of closed connections that may still have hooks to run.
    #[must_use]
    pub fn lingering_hooks(&self) -> usize {
        self.lingering_hooks.unwrap_or(self.connections)
    }

    /// Returns the rate at which messages and bytes are taken from one connection.
    #[must_use]
    pub fn inbound_per_connection(&self) -> InboundRate {
        self.inbound_per_connection
    }
}

/// The bound of one connection's outbox, above which the connection counts as behind and reads the
/// window instead. A zero is rejected when the provider is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    pub(crate) bytes: usize,
    pub(crate) frames: usize,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { bytes: 256 * 1024, frames: 256 }
    }
}

setters! {
    impl OutboxConfig {
        /// Sets the bytes of frames in each of the two lanes; default 256 KiB. An empty lane
        /// accepts a larger event.
        with_bytes(bytes: usize);
        /// Sets the number of frames in each of the two lanes; default 256.
        with_frames(frames: usize);
    }
}

impl OutboxConfig {
    /// Returns the bytes of frames in each lane.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of frames in each lane.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }
}

/// The part of the log that a node keeps in memory, per provider; the bound that is reached first
/// counts. A zero is rejected when the provider is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { age: Duration::from_secs(300), bytes: 64 * 1024 * 1024, records: 10_000 }
    }
}

setters! {
    impl WindowConfig {
        /// Sets the age of the oldest record; default 5 minutes.
        with_age(age: Duration);
        /// Sets the bytes of encoded frames and their bookkeeping; default 64 MiB.
        with_bytes(bytes: usize);
        /// Sets the number of records; default 10,000.
        with_records(records: usize);
    }
}

impl WindowConfig {
    /// Returns the age of the oldest record.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns the bytes of encoded frames and their bookkeeping.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }
}

/// The audience of sends to a room.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomDelivery {
    /// Every connection of the provider, member or not: a room's content is then no secret.
    Everyone,
    /// The room's members.
    Members,
}

/// The part of a provider's configuration that concerns delivery: capacity, outbox, window, event
/// size, write stall and the notice before an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    pub(crate) limits: Limits,
    pub(crate) outbox: OutboxConfig,
    pub(crate) window: WindowConfig,
    pub(crate) max_event_bytes: usize,
    pub(crate) write_stall: Duration,
    pub(crate) expiry_notice: Duration,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            outbox: OutboxConfig::default(),
            window: WindowConfig::default(),
            max_event_bytes: 16 * 1024 * 1024,
            write_stall: Duration::from_secs(30),
            expiry_notice: Duration::from_secs(60),
        }
    }
}

setters! {
    impl DeliveryConfig {
        /// Sets the capacity.
        with_limits(limits: Limits);
        /// Sets the bound of one connection's outbox.
        with_outbox(outbox: OutboxConfig);
        /// Sets the bound of the window.
        with_window(window: WindowConfig);
        /// Sets the largest payload of an event, in bytes; default 16 MiB.
        with_max_event_bytes(max_event_bytes: usize);
        /// Sets how long a connection may make no progress while frames wait for it; default 30 s.
        with_write_stall(write_stall: Duration);
        /// Sets how long before a connection's credentials end its client is notified; default
        /// 60 s, zero for never. Where they end sooner than twice that, it is notified halfway.
        with_expiry_notice(expiry_notice: Duration);
    }
}

impl DeliveryConfig {
    /// Returns the capacity.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the bound of one connection's outbox.
    #[must_use]
    pub fn outbox(&self) -> OutboxConfig {
        self.outbox
    }

    /// Returns the bound of the window.
    #[must_use]
    pub fn window(&self) -> WindowConfig {
        self.window
    }

    /// Returns the largest payload of an event, in bytes.
    #[must_use]
    pub fn max_event_bytes(&self) -> usize {
        self.max_event_bytes
    }

    /// Returns how long a connection may make no progress while frames wait for it.
    #[must_use]
    pub fn write_stall(&self) -> Duration {
        self.write_stall
    }

    /// Returns how long before a connection's credentials end its client is notified.
    #[must_use]
    pub fn expiry_notice(&self) -> Duration {
        self.expiry_notice
    }
}

/// The configuration of a [`Dispatcher`](crate::spi::Dispatcher), made from the provider's own.
#[derive(Clone, Debug)]
pub struct DispatcherConfig {
    pub(crate) provider: &'static str,
    pub(crate) capabilities: Capabilities,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) room_delivery: RoomDelivery,
    pub(crate) max_message_bytes: usize,
    pub(crate) meters_sessions: bool,
}

impl DispatcherConfig {
    /// Creates the configuration of a provider of this name; sends to a room reach its members.
    #[must_use]
    pub fn new(provider: &'static str, capabilities: Capabilities, delivery: DeliveryConfig) -> Self {
        let room_delivery = RoomDelivery::Members;
        Self { provider, capabilities, delivery, room_delivery, max_message_bytes: 0, meters_sessions: false }
    }

    /// Sets the largest message from a client, in bytes, for which each connection's rate has room.
    #[must_use]
    pub fn with_max_message_bytes(mut self, max_message_bytes: usize) -> Self {
        self.max_message_bytes = max_message_bytes;
        self
    }

    /// Sets that the transport counts what a client sends with a meter of its own
    /// ([`Dispatcher::session_meter`](crate::spi::Dispatcher::session_meter)), since not all of it
    /// is for the connection.
    #[must_use]
    pub fn with_session_meters(mut self) -> Self {
        self.meters_sessions = true;
        self
    }

    /// Sets the audience of what the provider's own broadcast sends to a room.
    #[must_use]
    pub fn with_room_delivery(mut self, delivery: RoomDelivery) -> Self {
        self.room_delivery = delivery;
        self
    }

    /// Returns the provider's name.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Returns what the provider can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Returns the part that concerns delivery.
    #[must_use]
    pub fn delivery(&self) -> &DeliveryConfig {
        &self.delivery
    }

    /// Rejects invalid values; providers call it with the fields' names as they are in their own
    /// configuration.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field.
    pub fn check(&self) -> Result<()> {
        let DeliveryConfig { limits, outbox, window, max_event_bytes, write_stall, expiry_notice: _ } = self.delivery;
        let numbers = [
            ("limits.connections", limits.connections),
            ("limits.connections_per_user", limits.connections_per_user),
            ("limits.handlers", limits.handlers()),
            ("limits.handlers_per_tenant", limits.handlers_per_tenant()),
            ("limits.handlers_per_user", limits.handlers_per_user()),
            ("limits.lingering_hooks", limits.lingering_hooks()),
            ("limits.rooms_per_connection", limits.rooms_per_connection),
            ("max_event_bytes", max_event_bytes),
            ("outbox.bytes", outbox.bytes),
            ("outbox.frames", outbox.frames),
            ("window.bytes", window.bytes),
            ("window.records", window.records),
        ];
        for (field, number) in numbers {
            self.check_field(field, number > 0)?;
        }
        if let Some(field) = limits.inbound_per_connection.zero_field() {
            self.check_field(&format!("limits.inbound_per_connection.{field}"), false)?;
        }
        self.check_field("window.age", !window.age.is_zero())?;
        self.check_field("write_stall", !write_stall.is_zero())
    }

    /// Rejects a field of the provider's configuration that is zero.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field.
    pub fn check_field(&self, field: &str, is_set: bool) -> Result<()> {
        if is_set {
            return Ok(());
        }
        Err(Error::Config(format!("{field} of the provider \"{}\" is zero", self.provider)))
    }
}
