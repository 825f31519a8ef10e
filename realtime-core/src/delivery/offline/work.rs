//! The work of a deciding node: what it has decided, and what a checkpoint says of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::backplane::Entry;
use crate::log::offline::checkpoint::Checkpoint;
use crate::values::position::Position;

/// The least time between two checkpoints.
const SAVE: Duration = Duration::from_secs(1);
/// The time, and the number of records, after which there is another checkpoint in any case, so
/// that the log always holds one.
const KEEP: Duration = Duration::from_secs(300);
const KEEP_RECORDS: u64 = 5_000;

/// The work of a deciding node: what it has decided, and what is still open.
pub(super) struct Work {
    pub(super) term: u64,
    /// The last record that was looked at.
    pub(super) cursor: Position,
    /// The records that were open when this node took over.
    pub(super) again: VecDeque<Position>,
    /// The records whose calls are under way.
    pub(super) under_way: BTreeSet<Position>,
    /// The asks whose answers are awaited, and until when.
    pub(super) waiting: BTreeSet<(Instant, Position)>,
    /// The records that were read after the cursor.
    pub(super) page: VecDeque<Entry>,
    /// Set while something is decided that is in no checkpoint.
    pub(super) is_changed: bool,
    pub(super) saved: Instant,
    pub(super) saved_at: Position,
    /// Set while the last checkpoint is in the log.
    pub(super) is_kept: bool,
}

impl Work {
    /// Goes on from a checkpoint.
    pub(super) fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            term: checkpoint.term,
            cursor: checkpoint.decided,
            again: checkpoint.open.iter().copied().collect(),
            under_way: BTreeSet::new(),
            waiting: BTreeSet::new(),
            page: VecDeque::new(),
            is_changed: false,
            saved: Instant::now(),
            saved_at: checkpoint.decided,
            is_kept: true,
        }
    }

    /// Forgets a call that has an outcome.
    pub(super) fn finish(&mut self, position: Position) {
        self.is_changed |= self.under_way.remove(&position);
    }

    /// Returns the checkpoint of now.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let waiting = self.waiting.iter().map(|(_, position)| position);
        let open: BTreeSet<_> = waiting.chain(&self.under_way).chain(&self.again).copied().collect();
        let open = open.into_iter().collect();
        Checkpoint { term: self.term, decided: self.cursor, open, ..Checkpoint::default() }
    }

    /// Returns whether a checkpoint is due.
    pub(super) fn is_unsaved(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.saved);
        let is_old = age >= KEEP || self.cursor.get() > self.saved_at.get() + KEEP_RECORDS;
        age >= SAVE && (self.is_changed || !self.is_kept || is_old)
    }

    pub(super) fn set_saved(&mut self, now: Instant, is_kept: bool) {
        self.is_kept = is_kept;
        self.saved = now;
        if is_kept {
            self.is_changed = false;
            self.saved_at = self.cursor;
        }
    }
}
