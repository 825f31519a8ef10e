use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::values::offline_stats::OfflineStats;

/// The counters behind [`OfflineStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: [AtomicU64; OUTCOMES.len()],
    unknown: AtomicU64,
    works: AtomicBool,
    lag_millis: AtomicU64,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Failed,
    GivenUp,
    Ok,
    Panicked,
    TimedOut,
}

/// The names of the outcomes, in the order of [`Outcome`].
const OUTCOMES: [&str; 5] = ["failed", "given_up", "ok", "panicked", "timed_out"];

impl Counters {
    /// Counts the outcome of a call.
    pub(crate) fn called(&self, outcome: Outcome) {
        self.calls[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts records that had left the log before they were decided.
    pub(crate) fn add_unknown(&self, count: u64) {
        self.unknown.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets whether this node decides, and by how much it is late.
    pub(crate) fn set_works(&self, works: bool, lag: Duration) {
        self.works.store(works, Ordering::Relaxed);
        self.lag_millis.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns what was counted so far.
    pub(crate) fn read(&self) -> OfflineStats {
        let calls = self.calls.iter().map(|count| count.load(Ordering::Relaxed));
        OfflineStats {
            calls: OUTCOMES.into_iter().zip(calls).collect(),
            unknown: self.unknown.load(Ordering::Relaxed),
            works: self.works.load(Ordering::Relaxed),
            lag: Duration::from_millis(self.lag_millis.load(Ordering::Relaxed)),
        }
    }
}
