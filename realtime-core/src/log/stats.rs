//! The statistics of a node: what it has counted of its sends, and knows of the log.

use std::sync::atomic::Ordering;

use crate::log::counters::kind;
use crate::log::handle::Log;
use crate::log::shared::Shared;
use crate::values::log_stats::LogStats;
use crate::values::target::Target;

impl Log {
    /// Returns what this node has counted of its sends, and what it knows of the log.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let counters = &self.0.counters;
        let reads = !self.0.publishes.load(Ordering::Acquire);
        let feeds = self.feeds();
        let applied = feeds.iter().map(|feed| feed.applied().get()).min().filter(|_| reads);
        LogStats {
            published: counters.read_published(),
            appends: counters.read_appends(),
            append_times: counters.append_times.read(),
            acks: counters.acks.read(),
            offline: self.offline().map(|offline| offline.counters.read()),
            up: self.is_writable() && feeds.iter().all(|feed| feed.is_ready()),
            lag: applied.map(|applied| counters.end().saturating_sub(applied)),
            size: counters.size(),
        }
    }

    /// Counts an event for this target that was sent without the log.
    pub(crate) fn count_published(&self, target: &Target) {
        self.0.counters.published(kind(target));
    }
}

impl Shared {
    /// Asks the log what it holds. Without an answer the last one stays: the probe tells whether
    /// the log is away.
    pub(super) async fn note_size(&self) {
        if let Ok(size) = self.backplane.size().await {
            self.counters.note_size(size);
        }
    }
}
