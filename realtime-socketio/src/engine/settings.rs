//! Limits and times of sessions, as the configuration sets them.

use std::time::Duration;

use realtime_http::TrustedProxies;

/// Engine.IO's part of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// Path of the service (`/socket.io`).
    pub path: String,
    /// Pings each 25 s, a sign of life within 60 s, 5 min without being read.
    pub heartbeat: Heartbeat,
    /// Bounds of unconnected sessions; `connect_timeout` also limits the probe of a websocket, to 10 s at most.
    pub bounds: Bounds,
    /// Reverse proxies that are believed when they name a client's address.
    pub proxies: TrustedProxies,
    /// Bytes of one message: a websocket frame, an event with its attachments, and a whole POST (1 MiB).
    pub max_message: usize,
    /// Attachments of one event (64).
    pub max_attachments: usize,
    /// How long a client's answer to an ask is accepted (5 min); the caller may wait shorter.
    pub max_ask: Duration,
    /// How long a client may take nothing while something waits (30 s).
    pub write_stall: Duration,
    /// How much may be in flight to one client.
    pub window: Window,
}

/// Bounds of sessions that are connected to no namespace; zero is no bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The provider's name, for the log.
    pub(crate) provider: &'static str,
    /// Number of unconnected sessions (1,000).
    pub(crate) sessions: usize,
    /// Number of them from one address (100).
    pub(crate) sessions_per_address: usize,
    /// How long a session may be unconnected (30 s).
    pub(crate) connect_timeout: Duration,
}

/// Times of a session's heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    /// Between two pings.
    pub(crate) interval: Duration,
    /// For a sign of life after a ping.
    pub(crate) timeout: Duration,
    /// How long a client counts as alive while nothing is read from it.
    pub(crate) busy: Duration,
}

/// Upper bound of these times, and engineioxide's own times: a year, which the clock can still add.
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

/// Size of Engine.IO's channel: twice the window, which a drain signal can race with, and room for pings and close packets.
pub(crate) const CHANNEL_PACKETS: usize = 256;

impl Default for Window {
    fn default() -> Self {
        Self { packets: 64, bytes: 64 * 1024 }
    }
}

/// Packets of a client that are read before the task yields.
pub(crate) const TURN: usize = 32;
