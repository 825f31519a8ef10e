//! Limits and times of sessions, as the configuration sets them.

use std::time::Duration;

use realtime_http::TrustedProxies;

/// Engine.IO's part of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct EngineConfig {
    /// Path of the service (`/socket.io`).
    pub path: String,
    /// Times of the heartbeat: a ping each 25 s, a sign of life within 60 s, 5 min without being
    /// read.
    pub heartbeat: Heartbeat,
    /// Bounds of unconnected sessions; `connect_timeout` also limits the probe of a websocket, to
    /// 10 s at most.
    pub bounds: Bounds,
    /// Reverse proxies whose forwarded client addresses are trusted.
    pub proxies: TrustedProxies,
    /// The largest message, in bytes: a websocket frame, an event with its attachments, and a whole
    /// POST (1 MiB).
    pub max_message: usize,
    /// The most attachments of one event (64).
    pub max_attachments: usize,
    /// The longest time until a client's answer to an ask (5 min); the caller may wait shorter.
    pub max_ask: Duration,
    /// The longest time without a read by the client while data waits for it (30 s).
    pub write_stall: Duration,
    /// The most that may be in flight to one client.
    pub window: Window,
}

/// Bounds of sessions that are connected to no namespace; zero means unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Number of unconnected sessions (1,000).
    pub(crate) sessions: usize,
    /// Number of them from one address (100).
    pub(crate) sessions_per_address: usize,
    /// The longest time that a session may be unconnected (30 s).
    pub(crate) connect_timeout: Duration,
    /// Amount that each of them may send.
    pub(crate) allowance: Allowance,
}

/// Amount that a session may send while it is connected to no namespace, since its start or the end
/// of its last connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Number of packets (16).
    pub(crate) packets: usize,
    /// Number of bytes (16 KiB).
    pub(crate) bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { packets: 16, bytes: 16 * 1024 }
    }
}

/// Times of a session's heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    /// The time between two pings.
    pub(crate) interval: Duration,
    /// The time for a sign of life after a ping.
    pub(crate) timeout: Duration,
    /// The time for which a client counts as alive while nothing is read from it.
    pub(crate) busy: Duration,
}

/// Upper bound of these times, and engineioxide's own times: a year, which the clock can still add.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Limits of a session's requests and websocket.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The largest message on a websocket, and the largest POST, in bytes.
    pub(crate) max_message: usize,
    /// The longest time that a write may wait.
    pub(crate) write_stall: Duration,
    /// The time for the probe of a websocket.
    pub(crate) probe: Duration,
}

/// The most that may be in a socket's channel at a time.
///
/// Engine.IO takes a full channel for a dead client, so the window stays far below the channel's
/// size (256 packets); one long-polling response carries at most 127 packets, whatever the channel
/// holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Number of packets (64).
    pub packets: usize,
    /// Number of bytes (64 KiB); the last packet may exceed it.
    pub bytes: usize,
}

/// Size of Engine.IO's channel: twice the window, which a drain signal can race with, and room for
/// pings and close packets.
pub(crate) const CHANNEL_PACKETS: usize = 256;

impl Default for Window {
    fn default() -> Self {
        Self { packets: 64, bytes: 64 * 1024 }
    }
}

/// Number of a client's packets that are read before the task yields.
pub(crate) const YIELD_AFTER: usize = 32;
