use std::time::Duration;

use realtime_core::spi::PROBE_TIMEOUT;
use tokio::time::Instant;

use crate::heartbeat::SLOWEST_READER;

/// A check of a client whose user has no free slot: the client has to show that it is alive, by any
/// byte or by taking what waits for it.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The time of the next check.
    due: Instant,
    /// The number of bytes sent at the last check, if a write was blocked then.
    blocked_at: Option<u64>,
}

impl Probe {
    /// Starts a probe. `unread` is the number of bytes sent since something came from the client;
    /// `blocked_at` the number sent in all, if a write is blocked.
    pub(crate) fn new(now: Instant, unread: u64, blocked_at: Option<u64>) -> Self {
        Self { due: now + wait(unread, blocked_at), blocked_at }
    }

    /// Returns the time at which [`Probe::is_dead`] is to be called next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Returns whether the client is gone, now that the time has passed without a byte from it. If
    /// not, the probe starts again.
    pub(crate) fn is_dead(&mut self, now: Instant, unread: u64, blocked_at: Option<u64>) -> bool {
        let is_dead = self.blocked_at == blocked_at;
        // The ping was queued behind what the client has read meanwhile, or still is.
        *self = Self::new(now, unread, blocked_at);
        is_dead
    }
}

/// Returns how long to wait: a ping is read after all that was sent before it.
fn wait(unread: u64, blocked_at: Option<u64>) -> Duration {
    match blocked_at {
        Some(_) => PROBE_TIMEOUT,
        None => PROBE_TIMEOUT + Duration::from_secs(unread / SLOWEST_READER),
    }
}
