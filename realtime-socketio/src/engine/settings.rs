//! What the sessions keep to, as the configuration says.

use std::time::Duration;

use realtime_http::TrustedProxies;

/// Engine.IO's part of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// Where Socket.IO is mounted (`/socket.io`).
    pub path: String,
    /// Pings each 25 s, a sign of life within 60 s, 5 min without being read.
    pub heartbeat: Heartbeat,
    /// Of sessions without a connection; `connect_timeout` is also for the probe of a websocket, which has 10 s at most.
    pub bounds: Bounds,
    /// Who tells a client's address.
    pub proxies: TrustedProxies,
    /// Bytes of one message: a websocket frame, an event with its attachments, and a whole POST (1 MiB).
    pub max_message: usize,
    /// Attachments of one event (64).
    pub max_attachments: usize,
    /// How long a client's answer to an ask is remembered (5 min); whoever asks may wait shorter.
    pub max_ask: Duration,
    /// How long a client may take nothing while something waits (30 s).
    pub write_stall: Duration,
    /// What may be in flight to one client.
    pub window: Window,
}

/// The bounds of sessions that are connected to no namespace; zero is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Whose sessions they are, for the log.
    pub(crate) provider: &'static str,
    /// How many (1,000).
    pub(crate) sessions: usize,
    /// How many from one address (100).
    pub(crate) sessions_per_address: usize,
    /// How long each (30 s).
    pub(crate) connect_timeout: Duration,
}

/// The times of a session's heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    /// Between two pings.
    pub(crate) interval: Duration,
    /// For a sign of life after a ping.
    pub(crate) timeout: Duration,
    /// How long nothing has to be heard of a client because nothing is read from it.
    pub(crate) busy: Duration,
}

/// A longer time counts as this: a year, which the clock can still add. engineioxide's own times too.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of one message on a websocket, and of one POST.
    pub(crate) max_message: usize,
    pub(crate) write_stall: Duration,
    /// For the probe of a websocket.
    pub(crate) probe: Duration,
}

/// How much may lie in a socket's channel at once.
///
/// Engine.IO takes a full channel for a dead client, so the window stays far below it
/// (256 packets); one long-polling answer carries at most 127 packets, whatever the channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Packets (64).
    pub packets: usize,
    /// Bytes (64 KiB); the last packet may exceed them.
    pub bytes: usize,
}

/// The size of Engine.IO's channel: twice the window, which a drain signal can race with, and room for pings and goodbyes.
pub(crate) const CHANNEL_PACKETS: usize = 256;

impl Default for Window {
    fn default() -> Self {
        Self { packets: 64, bytes: 64 * 1024 }
    }
}

/// How many packets of a client are read before other tasks have their turn.
pub(crate) const TURN: usize = 32;
