//! The content of a log in this process, under one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::log::backplane::{AppendError, AppendResult, Appended, Entry, LogState};
use crate::log::memory::bounds::LogBounds;
use crate::log::memory::keys::Keys;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::room_table::RoomTable;
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::cursor_key::CursorKey;
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// The most records that are dropped and not freed yet, and the largest of them in bytes.
const MAX_DROPPED: (usize, usize) = (256, 4096);

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
pub(super) struct Shared {
    log: Mutex<Log>,
    /// Notified when records were appended, for the tails.
    pub(super) appended: Notify,
    /// Notified when a tail has read records, for the appends that wait for it.
    pub(super) read: Notify,
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) bounds: LogBounds,
    pub(super) epoch: Epoch,
    pub(super) key: CursorKey,
    /// The position before the oldest entry.
    pub(super) start: Position,
    pub(super) entries: VecDeque<Kept>,
    /// Records that [`MemoryLog::reserve`] dropped, until a tail reads and frees them: its thread
    /// most often creates records too, and an allocator works best where both are done.
    pub(super) dropped: Vec<Kept>,
    pub(super) bytes: usize,
    pub(super) keys: Keys,
    /// The rooms as of `start`.
    pub(super) rooms: RoomTable,
    /// The position that each tail has read, by the tail's number.
    pub(super) tails: HashMap<u64, Position>,
    pub(super) next_tail: u64,
}

impl Kept {
    /// Creates the entry of a record that is appended now.
    #[must_use]
    pub fn new(id: EventId, record: impl Into<Stored>, size: usize, since: Instant) -> Self {
        Self { id, record: record.into(), size, since }
    }

    pub(super) fn of(record: &Arc<Record>) -> Self {
        Self::new(record.id(), Arc::clone(record), record.size(), Instant::now())
    }
}

impl Shared {
    pub(super) fn of(log: Log) -> Arc<Self> {
        Arc::new(Self { log: Mutex::new(log), appended: Notify::new(), read: Notify::new() })
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    pub(super) fn new(bounds: LogBounds, state: &LogState, rooms: RoomTable) -> Self {
        Self {
            bounds,
            epoch: state.epoch,
            key: state.key.clone(),
            start: state.start,
            entries: VecDeque::new(),
            dropped: Vec::new(),
            bytes: 0,
            keys: Keys::new(bounds.keys.max(1)),
            rooms,
            tails: HashMap::new(),
            next_tail: 0,
        }
    }

    /// Creates a copy with the records up to a position, and without tails.
    pub(super) fn copy_up_to(&self, last: Position) -> Self {
        let kept = last.get().saturating_sub(self.start.get()) as usize;
        let entries: VecDeque<_> = self.entries.iter().take(kept).cloned().collect();
        Self {
            bounds: self.bounds,
            epoch: self.epoch,
            key: self.key.clone(),
            start: self.start,
            bytes: entries.iter().map(|entry| entry.size).sum(),
            entries,
            dropped: Vec::new(),
            keys: self.keys.copy_up_to(last),
            rooms: self.rooms.clone(),
            tails: HashMap::new(),
            next_tail: 0,
        }
    }

    pub(super) fn last(&self) -> Position {
        Position::new(self.start.get() + self.entries.len() as u64)
    }

    pub(super) fn state(&self) -> LogState {
        LogState { epoch: self.epoch, last: self.last(), start: self.start, key: self.key.clone() }
    }

    pub(super) fn after(&self, position: Position, most: usize) -> Vec<Entry> {
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
    pub(super) fn has_lost(&self, position: Position, id: EventId) -> bool {
        let at = position.get().checked_sub(self.start.get() + 1);
        match at.map(|at| self.entries.get(at as usize)) {
            Some(found) => found.is_none_or(|found| found.id != id),
            None => false,
        }
    }

    pub(super) fn begin(&mut self, state: &LogState) {
        (self.epoch, self.key) = (state.epoch, state.key.clone());
        self.keys.clear();
        self.rooms.clear();
    }

    pub(super) fn repeat(&mut self, epoch: Epoch, key: Option<&RepeatKey>, now: Instant) -> Option<AppendResult> {
        if self.epoch != epoch {
            return Some(Err(AppendError::Epoch));
        }
        self.keys.repeat(key?, now)
    }

    pub(super) fn push(&mut self, kept: Kept, key: Option<&RepeatKey>) -> Appended {
        let (id, since) = (kept.id, kept.since);
        self.bytes += kept.size;
        self.entries.push_back(kept);
        let position = self.last();
        if let Some(key) = key {
            self.keys.remember(key, position, id, since);
        }
        Appended::new(position, id)
    }

    /// Makes room as [`Log::make_room`] does; a tail frees what is dropped.
    pub(super) fn reserve(&mut self, records: usize, bytes: usize, changed: &mut dyn FnMut(&str)) -> bool {
        let mut dropped = std::mem::take(&mut self.dropped);
        let is_read = !self.tails.is_empty();
        let has_room = self.make_room(records, bytes, changed, &mut |oldest| {
            if is_read && dropped.len() < MAX_DROPPED.0 && oldest.size <= MAX_DROPPED.1 {
                dropped.push(oldest);
            }
        });
        self.dropped = dropped;
        has_room
    }

    /// Makes room for records of these bytes, unless a tail still needs the oldest; returns whether
    /// there is room.
    pub(super) fn make_room(
        &mut self,
        records: usize,
        bytes: usize,
        changed: &mut dyn FnMut(&str),
        free: &mut dyn FnMut(Kept),
    ) -> bool {
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
            self.entries.pop_front().map(&mut *free);
            self.start = position;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a log of 300 records of this size.
    fn full(size: usize) -> Log {
        let bounds = LogBounds { records: 300, ..LogBounds::default() };
        let mut log = Log::new(bounds, &LogState::begin(), RoomTable::default());
        (0..300).for_each(|_| push(&mut log, size));
        log
    }

    fn push(log: &mut Log, size: usize) {
        assert!(log.reserve(1, size, &mut |_| ()));
        let id = EventId::random();
        log.push(Kept::new(id, bytes::Bytes::new(), size, Instant::now()), None);
    }

    #[test]
    fn dropped_records_wait_for_a_tail_within_a_bound() {
        let (small, large) = (MAX_DROPPED.1, MAX_DROPPED.1 + 1);
        for (size, has_tail, expected) in [(small, true, 200), (large, true, 0), (small, false, 0)] {
            let mut log = full(size);
            log.tails.extend(has_tail.then(|| (0, log.last())));
            (0..200).for_each(|_| push(&mut log, size));
            assert_eq!(log.dropped.len(), expected, "{size} {has_tail}");
        }
        let mut log = full(small);
        log.tails.insert(0, log.last());
        (0..300).for_each(|_| push(&mut log, small));
        assert_eq!(log.dropped.len(), MAX_DROPPED.0);
    }
}
