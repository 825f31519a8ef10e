//! What is known of a client's being there, and whether somebody wants to know more.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What is known of one session's client.
pub(crate) struct Liveness {
    begun: Instant,
    /// When something came from the client, in microseconds from the begin on; zero is never.
    heard: AtomicU64,
    /// The same for the moment from which on nothing is read; zero is "it is read".
    unread: AtomicU64,
    /// A packet on a websocket has to wait, and what comes after it stays unread.
    blocked: AtomicBool,
    /// A ping of the heartbeat's is due.
    ping: AtomicBool,
    /// Where the request for a sign of life stands.
    request: AtomicU8,
}

/// Nobody wants to know.
const CALM: u8 = 0;
/// The client is to be asked.
const WANTED: u8 = 1;
/// It has been asked.
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

    /// Whether something came from the client at this instant or later.
    pub(crate) fn received_since(&self, instant: Instant) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.at(instant)
    }

    /// How long nothing has been read.
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

    /// Notes whether a packet on the websocket has to wait; whether that is new.
    pub(crate) fn set_blocked(&self, blocked: bool) -> bool {
        let changed = self.is_blocked() != blocked;
        if changed {
            self.blocked.store(blocked, Ordering::Relaxed);
        }
        changed
    }

    /// Whether a packet on the websocket has to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Makes a ping due.
    pub(crate) fn want_ping(&self) {
        self.ping.store(true, Ordering::SeqCst);
    }

    /// Whether a ping is to be sent now, once for each time that one is due.
    pub(crate) fn takes_ping(&self) -> bool {
        self.ping.load(Ordering::Relaxed) && self.ping.swap(false, Ordering::SeqCst)
    }

    /// Has the client asked for a sign of life. False: somebody else waits for one.
    pub(crate) fn request_sign(&self) -> bool {
        self.request.compare_exchange(CALM, WANTED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether the client is to be asked for a sign of life now, once for each time.
    pub(crate) fn takes_request(&self) -> bool {
        self.request.load(Ordering::Relaxed) == WANTED
            && self.request.compare_exchange(WANTED, ASKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The client has given a sign of life; whether somebody had wanted one.
    pub(crate) fn note_alive(&self) -> bool {
        let wanted = self.request.load(Ordering::Relaxed) != CALM;
        if wanted {
            self.request.store(CALM, Ordering::SeqCst);
        }
        wanted
    }

    /// Whether nobody waits for a sign of life.
    pub(crate) fn is_settled(&self) -> bool {
        self.request.load(Ordering::SeqCst) == CALM
    }

    /// Never zero.
    fn at(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.begun);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX - 1) + 1
    }
}
