//! A log's records in this process: what the in-memory backplane is, and what a backplane that
//! stores them elsewhere too reads from.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::log::backplane::{AppendResult, Appended, Entry, LogState, Tail};
use crate::log::memory::bounds::LogBounds;
use crate::log::memory::records::{Kept, Log, Shared};
use crate::log::memory::tail::TailGuard;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::room_table::{RoomTable, UserRooms};
use crate::values::cursor::Epoch;
use crate::values::event_id::EventId;
use crate::values::log_size::LogSize;
use crate::values::position::Position;

/// The records of a log in this process, with its tails, its idempotency keys, and the rooms of the
/// position before the oldest record. Cheap to clone.
///
/// A record is kept until every tail has read it, and then as long as there is room. While the
/// slowest tail is a whole log behind, nothing can be appended.
#[derive(Clone, Debug)]
pub struct MemoryLog(Arc<Shared>);

impl MemoryLog {
    /// Creates the log of this state, with these rooms as of its start, and without records: the
    /// state's `last` does not count.
    #[must_use]
    pub fn new(bounds: LogBounds, state: &LogState, rooms: RoomTable) -> Self {
        Self(Shared::of(Log::new(bounds, state, rooms)))
    }

    /// Creates another log with the records of this one up to a position.
    pub(super) fn copy_up_to(&self, last: Position) -> Self {
        Self(Shared::of(self.0.log().copy_up_to(last)))
    }

    /// Changes the bounds; they hold from the next append on.
    pub(super) fn set_bounds(&self, change: impl FnOnce(&mut LogBounds)) {
        let mut log = self.0.log();
        change(&mut log.bounds);
        log.keys.max = log.bounds.keys.max(1);
    }

    /// Returns the answer to an append in this epoch with this key, if it appends nothing.
    #[must_use]
    pub fn repeat(&self, epoch: Epoch, key: Option<&RepeatKey>, now: Instant) -> Option<AppendResult> {
        self.0.log().repeat(epoch, key, now)
    }

    /// Forgets the keys that have ended, and the oldest of those for which there is no room beside
    /// this many new ones; returns them.
    #[must_use]
    pub fn forget_keys(&self, new: usize, now: Instant) -> Vec<[u8; 16]> {
        let mut log = self.0.log();
        let most = log.keys.max.saturating_sub(new);
        log.keys.forget(most, now)
    }

    /// Makes room for records of these bytes after the newest one, and drops those that are too
    /// old; `false` if the slowest tail still needs what would have to go. `changed` gets each user
    /// whose rooms, as of the log's start, may have changed.
    pub fn reserve(&self, records: usize, bytes: usize, mut changed: impl FnMut(&str)) -> bool {
        self.0.log().reserve(records, bytes, &mut changed)
    }

    /// Appends a record for which there is room, and whose key is not known. Wakes no tail.
    pub fn push(&self, kept: Kept, key: Option<&RepeatKey>) -> Appended {
        self.0.log().push(kept, key)
    }

    /// Appends a record, if the slowest tail is not a whole log behind. Wakes no tail.
    pub fn try_append(&self, epoch: Epoch, record: &Arc<Record>, key: Option<&RepeatKey>) -> Option<AppendResult> {
        let mut log = self.0.log();
        if let Some(answer) = log.repeat(epoch, key, Instant::now()) {
            return Some(answer);
        }
        let kept = Kept::of(record);
        if !log.make_room(1, kept.size, &mut |_| (), &mut drop) {
            return None;
        }
        Some(Ok(log.push(kept, key)))
    }

    /// Appends a record, once the slowest tail is not a whole log behind, and wakes the tails.
    ///
    /// # Errors
    /// [`AppendError::Epoch`](crate::spi::AppendError::Epoch),
    /// [`AppendError::KeyReused`](crate::spi::AppendError::KeyReused).
    pub async fn append(&self, epoch: Epoch, record: &Arc<Record>, key: Option<&RepeatKey>) -> AppendResult {
        loop {
            let read = self.0.read.notified();
            let answer = self.try_append(epoch, record, key);
            self.wake_tails();
            match answer {
                Some(answer) => return answer,
                None => read.await,
            }
        }
    }

    /// Lets the tails read the records that were appended.
    pub fn wake_tails(&self) {
        self.0.appended.notify_waiters();
    }

    /// Returns the number of tails.
    #[must_use]
    pub fn tails(&self) -> usize {
        self.0.log().tails.len()
    }

    /// Returns up to `most` records after this position, oldest first; from the oldest one on if
    /// that is later.
    #[must_use]
    pub fn range(&self, after: Position, most: usize) -> Vec<Entry> {
        self.0.log().after(after, most)
    }

    /// Returns every record after this position, future ones included.
    #[must_use]
    pub fn tail(&self, after: Position) -> Tail {
        let guard = TailGuard::new(Arc::clone(&self.0), after);
        stream::unfold(guard, |mut guard| async move {
            let entries = guard.next().await;
            Some((Ok(entries), guard))
        })
        .boxed()
    }

    /// Returns the log's epoch, key and extent.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.0.log().state()
    }

    /// Returns what the log holds.
    #[must_use]
    pub fn size(&self) -> LogSize {
        let log = self.0.log();
        let age = log.entries.front().map(|oldest| oldest.since.elapsed());
        LogSize::new(log.entries.len() as u64, log.bytes as u64, age)
    }

    /// Begins a new epoch, with a new key, if the epoch is the one that was seen and the record
    /// with this id is missing from its position; returns the current state. The new epoch has no
    /// idempotency key, and the rooms that the records in the log make.
    #[must_use]
    pub fn renew(&self, seen: Epoch, position: Position, id: EventId) -> LogState {
        let mut log = self.0.log();
        if log.epoch == seen && log.has_lost(position, id) {
            log.begin(&LogState::begin());
            // Appends that wait for room belong to the previous epoch.
            self.0.read.notify_waiters();
        }
        log.state()
    }

    /// Returns whether the record with this id is missing from its position, and was not just
    /// dropped as the oldest.
    #[must_use]
    pub fn has_lost(&self, position: Position, id: EventId) -> bool {
        self.0.log().has_lost(position, id)
    }

    /// Begins the epoch of this state with its key, as [`MemoryLog::renew`] does.
    pub fn begin(&self, state: &LogState) {
        self.0.log().begin(state);
        self.0.read.notify_waiters();
    }

    /// Returns the rooms of a user name as of the log's start, if there are any.
    #[must_use]
    pub fn rooms_of(&self, user: &str) -> Option<UserRooms> {
        self.0.log().rooms.user(user).cloned()
    }

    /// Remembers the key of a record in the log, as it was stored, for this time from now on.
    pub fn restore_key(&self, key: &RepeatKey, position: Position, id: EventId) {
        self.0.log().keys.remember(key, position, id, Instant::now());
    }

    /// Returns the rooms as of a position, or as of the log's start if that is later.
    #[must_use]
    pub fn rooms(&self, at: Position) -> RoomTable {
        let log = self.0.log();
        let mut rooms = log.rooms.clone();
        let mut position = log.start;
        for entry in log.entries.iter().take(at.get().saturating_sub(log.start.get()) as usize) {
            position = position.next();
            if let Ok(record) = entry.record.decode() {
                rooms.apply(position, &record);
            }
        }
        rooms
    }
}
