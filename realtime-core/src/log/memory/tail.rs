//! A reader of a log's records in this process.

use std::sync::Arc;

use crate::log::backplane::Entry;
use crate::log::memory::records::{Kept, Shared};
use crate::values::position::Position;

/// The number of records returned to a tail at a time.
const BATCH: usize = 256;

/// A tail's position in the log; dropping it stops it from holding records back.
pub(super) struct TailGuard {
    shared: Arc<Shared>,
    number: u64,
    /// Empty but for its capacity.
    freed: Vec<Kept>,
}

impl TailGuard {
    pub(super) fn new(shared: Arc<Shared>, after: Position) -> Self {
        let mut log = shared.log();
        let number = log.next_tail;
        log.next_tail += 1;
        let after = after.max(log.start);
        log.tails.insert(number, after);
        drop(log);
        Self { shared, number, freed: Vec::new() }
    }

    /// Returns the next batch; the previous batch counts as read.
    pub(super) async fn next(&mut self) -> Vec<Entry> {
        loop {
            let appended = self.shared.appended.notified();
            {
                let mut log = self.shared.log();
                let read = log.tails.get(&self.number).copied().unwrap_or(log.start);
                let entries = log.after(read, BATCH);
                if let Some(last) = entries.last() {
                    log.tails.insert(self.number, last.position);
                    std::mem::swap(&mut log.dropped, &mut self.freed);
                    drop(log);
                    self.freed.clear();
                    self.shared.read.notify_waiters();
                    return entries;
                }
            }
            appended.await;
        }
    }
}

impl Drop for TailGuard {
    fn drop(&mut self) {
        self.shared.log().tails.remove(&self.number);
        self.shared.read.notify_waiters();
    }
}
