//! State of a session's heartbeat and liveness check.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Signs of life of one session's client.
pub(crate) struct Liveness {
    begun: Instant,
    /// Time of the last byte from the client, in microseconds since `begun`; zero is never.
    heard: AtomicU64,
    /// Time since when nothing is read from the client; zero while it is read.
    unread: AtomicU64,
    /// Set while a packet on a websocket waits, and what comes after it stays unread.
    blocked: AtomicBool,
    /// Set while a ping of the heartbeat is due.
    ping: AtomicBool,
    /// Stage of the request for a sign of life.
    request: AtomicU8,
}

/// No sign of life is requested.
const CALM: u8 = 0;
/// A sign of life is requested; no ping for it was sent yet.
const WANTED: u8 = 1;
/// A ping for it was sent.
const ASKED: u8 = 2;

impl Default for Liveness {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            heard: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            ping: AtomicBool::new(false),
            request: AtomicU8::new(CALM),
        }
    }
}

impl Liveness {
    /// Notes that something came from the client.
    pub(crate) fn note_received(&self) {
        self.heard.fetch_max(self.at(Instant::now()), Ordering::Relaxed);
    }

    /// Returns whether something came from the client at or after this instant.
    pub(crate) fn received_since(&self, instant: Instant) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.at(instant)
    }

    /// Returns for how long nothing has been read, or none while the client is read.
    pub(crate) fn unread_for(&self, now: Instant) -> Option<Duration> {
        let since = self.unread.load(Ordering::SeqCst);
        (since != 0).then(|| Duration::from_micros(self.at(now).saturating_sub(since)))
    }

    /// Notes whether nothing is read from the client.
    pub(crate) fn set_unread(&self, unread: bool) {
        if unread {
            let now = self.at(Instant::now());
            let _ = self.unread.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        } else if self.unread.load(Ordering::Relaxed) != 0 && self.unread.swap(0, Ordering::SeqCst) != 0 {
            // What the client had sent by now is only about to be read.
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
    pub(crate) fn want_ping(&self) {
        self.ping.store(true, Ordering::SeqCst);
    }

    /// Returns whether a ping is due, and clears that.
    pub(crate) fn takes_ping(&self) -> bool {
        self.ping.load(Ordering::Relaxed) && self.ping.swap(false, Ordering::SeqCst)
    }

    /// Requests a sign of life. Returns false if one is requested already.
    pub(crate) fn request_sign(&self) -> bool {
        self.request.compare_exchange(CALM, WANTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Returns whether a ping is to be sent for a requested sign of life, once for each request.
    pub(crate) fn takes_request(&self) -> bool {
        self.request.load(Ordering::Relaxed) == WANTED
            && self.request.compare_exchange(WANTED, ASKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Notes a sign of life. Returns whether one was requested.
    pub(crate) fn note_alive(&self) -> bool {
        let wanted = self.request.load(Ordering::Relaxed) != CALM;
        if wanted {
            self.request.store(CALM, Ordering::SeqCst);
        }
        wanted
    }

    /// Returns whether no sign of life is requested, or the requested one has come.
    pub(crate) fn is_settled(&self) -> bool {
        self.request.load(Ordering::SeqCst) == CALM
    }

    /// Converts an instant to microseconds since `begun`; never zero.
    fn at(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.begun);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX - 1) + 1
    }
}
