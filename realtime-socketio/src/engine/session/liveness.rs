//! State of a session's heartbeat and liveness check.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Signs of life of one session's client.
pub(crate) struct Liveness {
    started_at: Instant,
    /// Time of the last byte from the client, in microseconds since `started_at`; zero is never.
    received_at: AtomicU64,
    /// Time since when the client has not been read, in the same unit; zero while it is read.
    read_paused_since: AtomicU64,
    /// Set while a packet on a websocket waits, so that the bytes behind it stay unread.
    blocked: AtomicBool,
    /// Set while a ping of the heartbeat is due.
    ping: AtomicBool,
    /// Time of the heartbeat's last ping, in the same unit; zero once its pong has come.
    pinged_at: AtomicU64,
    /// State of the request for a sign of life: one of the three constants below.
    sign_of_life: AtomicU8,
}

/// No sign of life is requested.
const IDLE: u8 = 0;
/// A sign of life is requested; no ping for it was sent yet.
const REQUESTED: u8 = 1;
/// A ping for it was sent.
const PING_SENT: u8 = 2;

impl Default for Liveness {
    fn default() -> Self {
        Self {
            started_at: Instant::now(),
            received_at: AtomicU64::new(0),
            read_paused_since: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            ping: AtomicBool::new(false),
            pinged_at: AtomicU64::new(0),
            sign_of_life: AtomicU8::new(IDLE),
        }
    }
}

impl Liveness {
    /// Notes that something came from the client.
    pub(crate) fn note_received(&self) {
        self.received_at.fetch_max(self.micros(Instant::now()), Ordering::Relaxed);
    }

    /// Returns whether something came from the client at or after this instant.
    pub(crate) fn received_since(&self, instant: Instant) -> bool {
        self.received_at.load(Ordering::Relaxed) >= self.micros(instant)
    }

    /// Returns for how long the client has not been read, or none while it is read.
    pub(crate) fn read_paused_for(&self, now: Instant) -> Option<Duration> {
        let since = self.read_paused_since.load(Ordering::SeqCst);
        (since != 0).then(|| Duration::from_micros(self.micros(now).saturating_sub(since)))
    }

    /// Notes whether reading from the client is paused.
    pub(crate) fn set_read_paused(&self, paused: bool) {
        if paused {
            let now = self.micros(Instant::now());
            let _ = self.read_paused_since.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        } else if self.read_paused_since.load(Ordering::Relaxed) != 0
            && self.read_paused_since.swap(0, Ordering::SeqCst) != 0
        {
            // What the client sent during the pause is only read after this.
            self.note_received();
        }
    }

    /// Notes whether a packet on the websocket waits. Returns whether that has changed.
    pub(crate) fn set_blocked(&self, blocked: bool) -> bool {
        let changed = self.is_blocked() != blocked;
        if changed {
            self.blocked.store(blocked, Ordering::Relaxed);
        }
        changed
    }

    /// Returns whether a packet on the websocket waits.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Makes a ping of the heartbeat due.
    pub(crate) fn request_ping(&self) {
        self.ping.store(true, Ordering::SeqCst);
    }

    /// Returns whether a ping is due, which is sent now, and clears that.
    pub(crate) fn take_ping(&self) -> bool {
        let is_due = self.ping.load(Ordering::Relaxed) && self.ping.swap(false, Ordering::SeqCst);
        if is_due {
            self.pinged_at.store(self.micros(Instant::now()), Ordering::Relaxed);
        }
        is_due
    }

    /// Notes a pong; returns the time since the heartbeat's ping, if it is the first one.
    pub(crate) fn note_pong(&self) -> Option<Duration> {
        let pinged_at = self.pinged_at.swap(0, Ordering::Relaxed);
        (pinged_at != 0).then(|| Duration::from_micros(self.micros(Instant::now()).saturating_sub(pinged_at)))
    }

    /// Requests a sign of life. Returns false if one is requested already.
    pub(crate) fn request_sign_of_life(&self) -> bool {
        self.sign_of_life.compare_exchange(IDLE, REQUESTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Returns whether a ping is to be sent for a requested sign of life, once for each request.
    pub(crate) fn take_request(&self) -> bool {
        self.sign_of_life.load(Ordering::Relaxed) == REQUESTED
            && self.sign_of_life.compare_exchange(REQUESTED, PING_SENT, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Notes a sign of life. Returns whether one was requested.
    pub(crate) fn note_alive(&self) -> bool {
        let requested = self.sign_of_life.load(Ordering::Relaxed) != IDLE;
        if requested {
            self.sign_of_life.store(IDLE, Ordering::SeqCst);
        }
        requested
    }

    /// Returns whether no sign of life is requested, or the requested one was given.
    pub(crate) fn is_answered(&self) -> bool {
        self.sign_of_life.load(Ordering::SeqCst) == IDLE
    }

    /// Converts an instant to microseconds since `started_at`; never zero.
    fn micros(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.started_at);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX - 1) + 1
    }
}
