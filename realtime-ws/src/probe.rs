use std::time::Duration;

use realtime_core::spi::PROBE_TIMEOUT;
use tokio::time::Instant;

use crate::heartbeat::SLOWEST_READER;

/// A client that is to give a sign of life, because its user has no free place: any byte, or that it takes what waits for it.
#[derive(Debug)]
pub(crate) struct Probe {
    /// When it is looked at.
    due: Instant,
    /// How much it had been sent at the last look, if a write waited then.
    stuck: Option<u64>,
}

impl Probe {
    /// `unread` is what it was sent since something came from it; `stuck` how much in all, if a write waits.
    pub(crate) fn new(now: Instant, unread: u64, stuck: Option<u64>) -> Self {
        Self { due: now + wait(unread, stuck), stuck }
    }

    /// When [`Probe::look`] is to be called next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Its time is over, and nothing has come: whether the client is gone.
    pub(crate) fn look(&mut self, now: Instant, unread: u64, stuck: Option<u64>) -> bool {
        let is_gone = self.stuck == stuck;
        // The ping stood behind what the client has taken meanwhile, or still does.
        *self = Self::new(now, unread, stuck);
        is_gone
    }
}

/// A ping is read after all that was sent before it.
fn wait(unread: u64, stuck: Option<u64>) -> Duration {
    match stuck {
        Some(_) => PROBE_TIMEOUT,
        None => PROBE_TIMEOUT + Duration::from_secs(unread / SLOWEST_READER),
    }
}
