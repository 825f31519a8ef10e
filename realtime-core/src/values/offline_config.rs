use std::time::Duration;

use crate::values::error::{Error, Result};

/// The shortest time after which a user counts as offline: nodes have sent each other by then what
/// their connections got.
const MIN_DELAY: Duration = Duration::from_secs(3);

/// When users count as offline, and how an [`OfflineSink`](crate::OfflineSink) is called. A value
/// that cannot work is rejected when the service is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfflineConfig {
    pub(crate) delay: Duration,
    pub(crate) calls: usize,
    pub(crate) call_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) retry_for: Duration,
}

impl Default for OfflineConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(12),
            calls: 32,
            call_timeout: Duration::from_secs(30),
            attempts: 8,
            retry_for: Duration::from_secs(300),
        }
    }
}

setters! {
    impl OfflineConfig {
        /// Sets how long a user has to reconnect and catch up on an event before it counts as
        /// missed; default 12 s, a lease and 2 s, so that the clients of a node that was killed are
        /// not taken for offline. At least 3 s.
        with_delay(delay: Duration);
        /// Sets how many calls of the sink may be under way, those that wait for a further attempt
        /// included; default 32. What waits for its call is in the log.
        with_calls(calls: usize);
        /// Sets how long one call may take; default 30 s. A longer one is dropped, and counts as
        /// failed.
        with_call_timeout(call_timeout: Duration);
        /// Sets how often the sink is called for one event, at most, while it fails; default 8. The
        /// delay between two attempts grows from 50 ms to 30 s.
        with_attempts(attempts: u32);
        /// Sets for how long after the first attempt further ones begin; default 5 minutes.
        with_retry_for(retry_for: Duration);
    }
}

impl OfflineConfig {
    /// Rejects what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`], which names the field.
    pub fn check(&self) -> Result<()> {
        let is_wrong = [
            ("delay is shorter than 3 s", self.delay < MIN_DELAY),
            ("calls is zero", self.calls == 0),
            ("call_timeout is zero", self.call_timeout.is_zero()),
            ("attempts is zero", self.attempts == 0),
        ];
        match is_wrong.into_iter().find(|(_, is_wrong)| *is_wrong) {
            Some((what, _)) => Err(Error::Config(format!("offline sink: {what}"))),
            None => Ok(()),
        }
    }
}
