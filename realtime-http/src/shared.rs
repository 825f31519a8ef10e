use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// The state that all connections of one guard share.
pub(crate) struct Shared {
    pub(crate) write_stall: Duration,
    pub(crate) ack_timeout: Option<Duration>,
    /// The zero point of the wires' clocks, which are one small integer each.
    pub(crate) epoch: Instant,
    pub(crate) stalls: AtomicU64,
}

impl Shared {
    /// Returns the microseconds since the epoch, never 0, which means "none".
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Relaxed);
    }
}
