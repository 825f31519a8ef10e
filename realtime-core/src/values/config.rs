use std::time::Duration;

use crate::values::capabilities::Capabilities;
use crate::values::error::{Error, Result};

/// How many connections a provider takes on this node. Zero is refused when the provider is attached.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; default 100,000. One more is refused with 503. As many handlers run at a time, those of connections
    /// that have left included.
    pub connections: usize,
    /// Connections of one user, of one tenant, with one provider; default 10. Whoever comes at the limit is told when to try
    /// again, while the connections there are give a sign of life or make room.
    ///
    /// As many handlers run for one user at a time, those of connections that have left included.
    pub connections_per_user: usize,
    /// Rooms that one connection is in because its client named them, when it connected or later; default 100. One more is
    /// refused. Rooms that the server joins its user to do not count.
    pub rooms_per_connection: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 100_000, connections_per_user: 10, rooms_per_connection: 100 }
    }
}

impl Limits {
    /// Sets [`Limits::connections`].
    pub fn with_connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// Sets [`Limits::connections_per_user`].
    pub fn with_connections_per_user(mut self, most: usize) -> Self {
        self.connections_per_user = most;
        self
    }

    /// Sets [`Limits::rooms_per_connection`].
    pub fn with_rooms_per_connection(mut self, most: usize) -> Self {
        self.rooms_per_connection = most;
        self
    }
}

/// How much may wait for one connection before it counts as behind and reads the window instead. Zero is refused when the
/// provider is attached.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Bytes of frames, in each of the two lanes; default 256 KiB. A larger event passes an empty lane.
    pub bytes: usize,
    /// Frames in each of the two lanes; default 256.
    pub frames: usize,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { bytes: 256 * 1024, frames: 256 }
    }
}

impl OutboxConfig {
    /// Sets [`OutboxConfig::bytes`].
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets [`OutboxConfig::frames`].
    pub fn with_frames(mut self, frames: usize) -> Self {
        self.frames = frames;
        self
    }
}

/// How much of the log a node keeps in memory, per provider; whichever bound is reached first counts.
/// Zero is refused when the provider is attached.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowConfig {
    /// The oldest record kept; default 5 minutes.
    pub age: Duration,
    /// Bytes of encoded frames and their bookkeeping; default 64 MiB.
    pub bytes: usize,
    /// Records; default 10,000.
    pub records: usize,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { age: Duration::from_secs(300), bytes: 64 * 1024 * 1024, records: 10_000 }
    }
}

impl WindowConfig {
    /// Sets [`WindowConfig::age`].
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets [`WindowConfig::bytes`].
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets [`WindowConfig::records`].
    pub fn with_records(mut self, records: usize) -> Self {
        self.records = records;
        self
    }
}

/// Who sees what is sent to a room.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomDelivery {
    /// Every connection of the provider, member or not: a room's content is then no secret.
    Everyone,
    /// The room's members.
    #[default]
    Members,
}

/// What a provider tells its [`crate::spi::Dispatcher`]; filled from the provider's own configuration.
#[derive(Clone, Debug)]
pub struct DispatcherConfig {
    /// The provider's name, by which records mean it.
    pub provider: &'static str,
    /// What the provider can do.
    pub capabilities: Capabilities,
    /// How many connections it takes.
    pub limits: Limits,
    /// The largest payload of an event in bytes.
    pub max_event_bytes: usize,
    /// The bound of one connection's outbox.
    pub outbox: OutboxConfig,
    /// Who sees what is sent to a room.
    pub room_delivery: RoomDelivery,
    /// The bound of the window.
    pub window: WindowConfig,
    /// How long a connection may take nothing while something waits for it.
    pub write_stall: Duration,
}

impl DispatcherConfig {
    /// The defaults for a provider of this name: 16 MiB events, 30 s of stall, rooms for members.
    pub fn new(provider: &'static str, capabilities: Capabilities) -> Self {
        Self {
            provider,
            capabilities,
            limits: Limits::default(),
            max_event_bytes: 16 * 1024 * 1024,
            outbox: OutboxConfig::default(),
            room_delivery: RoomDelivery::default(),
            window: WindowConfig::default(),
            write_stall: Duration::from_secs(30),
        }
    }
    /// Refuses what cannot work; providers call it with the fields' names as they are in their own configuration.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field.
    pub fn check(&self) -> Result<()> {
        let WindowConfig { age, bytes, records } = self.window;
        let numbers = [
            ("limits.connections", self.limits.connections),
            ("limits.connections_per_user", self.limits.connections_per_user),
            ("limits.rooms_per_connection", self.limits.rooms_per_connection),
            ("max_event_bytes", self.max_event_bytes),
            ("outbox.bytes", self.outbox.bytes),
            ("outbox.frames", self.outbox.frames),
            ("window.bytes", bytes),
            ("window.records", records),
        ];
        for (field, number) in numbers {
            self.check_field(field, number > 0)?;
        }
        self.check_field("window.age", !age.is_zero())?;
        self.check_field("write_stall", !self.write_stall.is_zero())
    }

    /// Refuses a field of the provider's configuration that is zero.
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
