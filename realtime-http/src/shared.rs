use std::{sync::atomic::AtomicU64, time::Duration};

use tokio::time::Instant;

use crate::ended::EndCounters;

/// The state that all connections of one guard share.
pub(crate) struct Shared {
    pub(crate) write_stall: Duration,
    pub(crate) ack_timeout: Option<Duration>,
    /// The zero point of the wires' clocks, which are one small integer each.
    pub(crate) epoch: Instant,
    /// The number of streams that are not dropped.
    pub(crate) open: AtomicU64,
    /// The number of connections that waited to be accepted.
    pub(crate) delayed: AtomicU64,
    pub(crate) ended: EndCounters,
}

impl Shared {
    /// Returns the microseconds since the epoch, never 0, which means "none".
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}
