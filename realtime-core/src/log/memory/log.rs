//! A log's records in this process: what the in-memory backplane is, and what a backplane that
//! stores them elsewhere too reads from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::log::backplane::{AppendError, AppendResult, Appended, Entry, LogState, Tail};
use crate::log::memory::bounds::LogBounds;
use crate::log::memory::keys::Keys;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::room_table::{RoomTable, UserRooms};
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::cursor_key::CursorKey;
use crate::values::event_id::EventId;
use crate::values::log_size::LogSize;
use crate::values::position::Position;

/// The number of records returned to a tail at a time.
const BATCH: usize = 256;

/// The records of a log in this process, with its tails, its idempotency keys, and the rooms of the
/// position before the oldest record. Cheap to clone.
///
/// A record is kept until every tail has read it, and then as long as there is room. While the
/// slowest tail is a whole log behind, nothing can be appended.
#[derive(Clone, Debug)]
pub struct MemoryLog(Arc<Shared>);

/// A record of a log, and what the log keeps of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Kept {
    /// The record's id.
    pub id: EventId,
    /// The record.
    pub record: Stored,
    /// The number of bytes that it counts for.
    pub size: usize,
    /// The time at which it was appended.
    pub since: Instant,
}

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    /// Notified when records were appended, for the tails.
    appended: Notify,
    /// Notified when a tail has read records, for the appends that wait for it.
    read: Notify,
}

#[derive(Debug)]
struct Log {
    bounds: LogBounds,
    epoch: Epoch,
    key: CursorKey,
    /// The position before the oldest entry.
    start: Position,
    entries: VecDeque<Kept>,
    bytes: usize,
    keys: Keys,
    /// The rooms as of `start`.
    rooms: RoomTable,
    /// The position that each tail has read, by the tail's number.
    tails: HashMap<u64, Position>,
    next_tail: u64,
}

impl Kept {
    /// Creates the entry of a record that is appended now.
    #[must_use]
    pub fn new(id: EventId, record: impl Into<Stored>, size: usize, since: Instant) -> Self {
        Self { id, record: record.into(), size, since }
    }

    fn of(record: &Arc<Record>) -> Self {
        Self::new(record.id(), Arc::clone(record), record.size(), Instant::now())
    }
}

impl MemoryLog {
    /// Creates the log of this state, with these rooms as of its start, and without records: the
    /// state's `last` does not count.
    #[must_use]
    pub fn new(bounds: LogBounds, state: &LogState, rooms: RoomTable) -> Self {
        Self::of(Log {
            bounds,
            epoch: state.epoch,
            key: state.key.clone(),
            start: state.start,
            entries: VecDeque::new(),
            bytes: 0,
            keys: Keys::new(bounds.keys.max(1)),
            rooms,
            tails: HashMap::new(),
            next_tail: 0,
        })
    }

    fn of(log: Log) -> Self {
        Self(Arc::new(Shared { log: Mutex::new(log), appended: Notify::new(), read: Notify::new() }))
    }

    /// Creates another log with the records of this one up to a position.
    pub(super) fn copy_up_to(&self, last: Position) -> Self {
        let log = self.0.log();
        let kept = last.get().saturating_sub(log.start.get()) as usize;
        let entries: VecDeque<_> = log.entries.iter().take(kept).cloned().collect();
        Self::of(Log {
            bounds: log.bounds,
            epoch: log.epoch,
            key: log.key.clone(),
            start: log.start,
            bytes: entries.iter().map(|entry| entry.size).sum(),
            entries,
            keys: log.keys.copy_up_to(last),
            rooms: log.rooms.clone(),
            tails: HashMap::new(),
            next_tail: 0,
        })
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
        self.0.log().make_room(records, bytes, &mut changed)
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
        if !log.make_room(1, kept.size, &mut |_| ()) {
            return None;
        }
        Some(Ok(log.push(kept, key)))
    }

    /// Appends a record, once the slowest tail is not a whole log behind, and wakes the tails.
    ///
    /// # Errors
    /// [`AppendError::Epoch`], [`AppendError::KeyReused`].
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

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn last(&self) -> Position {
        Position::new(self.start.get() + self.entries.len() as u64)
    }

    fn state(&self) -> LogState {
        LogState { epoch: self.epoch, last: self.last(), start: self.start, key: self.key.clone() }
    }

    fn after(&self, position: Position, most: usize) -> Vec<Entry> {
        let skip = position.get().saturating_sub(self.start.get()) as usize;
        let first = self.start.get() + skip as u64 + 1;
        let entries = self.entries.iter().skip(skip).take(most);
        entries
            .enumerate()
            .map(|(i, kept)| Entry {
                position: Position::new(first + i as u64),
                id: kept.id,
                record: kept.record.clone(),
            })
            .collect()
    }

    /// Returns whether the record with this id is missing from its position, and was not just
    /// dropped as the oldest.
    fn has_lost(&self, position: Position, id: EventId) -> bool {
        let at = position.get().checked_sub(self.start.get() + 1);
        match at.map(|at| self.entries.get(at as usize)) {
            Some(found) => found.is_none_or(|found| found.id != id),
            None => false,
        }
    }

    fn begin(&mut self, state: &LogState) {
        (self.epoch, self.key) = (state.epoch, state.key.clone());
        self.keys.clear();
        self.rooms.clear();
    }

    fn repeat(&mut self, epoch: Epoch, key: Option<&RepeatKey>, now: Instant) -> Option<AppendResult> {
        if self.epoch != epoch {
            return Some(Err(AppendError::Epoch));
        }
        self.keys.repeat(key?, now)
    }

    fn push(&mut self, kept: Kept, key: Option<&RepeatKey>) -> Appended {
        let (id, since) = (kept.id, kept.since);
        self.bytes += kept.size;
        self.entries.push_back(kept);
        let position = self.last();
        if let Some(key) = key {
            self.keys.remember(key, position, id, since);
        }
        Appended::new(position, id)
    }

    /// Makes room for records of these bytes, unless a tail still needs the oldest; returns whether
    /// there is room.
    fn make_room(&mut self, records: usize, bytes: usize, changed: &mut dyn FnMut(&str)) -> bool {
        let now = self.bounds.age.map(|_| Instant::now());
        while let Some(oldest) = self.entries.front() {
            let is_full = self.entries.len() + records > self.bounds.records.max(records)
                || self.bytes + bytes > self.bounds.bytes.max(bytes);
            let is_old = || {
                let age = now.zip(self.bounds.age);
                self.entries.len() + records > 1
                    && age.is_some_and(|(now, age)| now.saturating_duration_since(oldest.since) > age)
            };
            if !is_full && !is_old() {
                break;
            }
            let position = self.start.next();
            if self.tails.values().any(|read| *read < position) {
                return !is_full;
            }
            self.bytes -= oldest.size;
            if let Ok(record) = oldest.record.decode()
                && let Some(user) = self.rooms.apply(position, &record)
            {
                changed(user);
            }
            self.entries.pop_front();
            self.start = position;
        }
        true
    }
}

/// A tail's position in the log; dropping it stops it from holding records back.
struct TailGuard {
    shared: Arc<Shared>,
    number: u64,
}

impl TailGuard {
    fn new(shared: Arc<Shared>, after: Position) -> Self {
        let mut log = shared.log();
        let number = log.next_tail;
        log.next_tail += 1;
        let after = after.max(log.start);
        log.tails.insert(number, after);
        drop(log);
        Self { shared, number }
    }

    /// Returns the next batch; the previous batch counts as read.
    async fn next(&mut self) -> Vec<Entry> {
        loop {
            let appended = self.shared.appended.notified();
            {
                let mut log = self.shared.log();
                let read = log.tails.get(&self.number).copied().unwrap_or(log.start);
                let entries = log.after(read, BATCH);
                if let Some(last) = entries.last() {
                    log.tails.insert(self.number, last.position);
                    drop(log);
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
