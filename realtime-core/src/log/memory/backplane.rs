use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use crate::log::backplane::{AppendError, Appended, Backplane, Entry, LogState, Tail};
use crate::log::memory::keys::Keys;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::cursor_key::CursorKey;
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// The log and pipe of nodes that share this value; usually one. Records stay values.
///
/// A record is kept until every tail has read it and then as long as there is room, so that a node
/// that starts later can fill its window. While the slowest tail is a whole log behind, `append`
/// waits for it.
#[derive(Clone, Debug)]
pub struct MemoryBackplane {
    max: Bound,
    shared: Arc<Shared>,
}

/// The amount of records to keep.
#[derive(Clone, Copy, Debug)]
struct Bound {
    records: usize,
    bytes: usize,
}

/// The number of idempotency keys that are remembered by default (up to 12 MiB).
const KEYS: usize = 100_000;
/// The number of messages that wait for one subscriber of the pipe before it misses some.
const PIPE_CAPACITY: usize = 1024;
/// The number of records returned to a tail at a time.
const BATCH: usize = 256;

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    /// Notified when records were appended, for the tails.
    appended: Notify,
    /// Notified when a tail has read records, for the appends that wait for it.
    read: Notify,
    pipe: broadcast::Sender<Arc<Record>>,
}

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    key: CursorKey,
    /// The position before the oldest entry.
    start: Position,
    entries: VecDeque<Arc<Record>>,
    bytes: usize,
    keys: Keys,
    /// The position that each tail has read, by the tail's number.
    tails: HashMap<u64, Position>,
    next_tail: u64,
}

impl Default for MemoryBackplane {
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl MemoryBackplane {
    /// Creates a backplane that keeps this many records (at least one), and 64 MiB of them.
    pub fn new(records: usize) -> Self {
        let LogState { epoch, key, start, last: _ } = LogState::begin();
        let log = Log {
            epoch,
            key,
            start,
            entries: VecDeque::new(),
            bytes: 0,
            keys: Keys::new(KEYS),
            tails: HashMap::new(),
            next_tail: 0,
        };
        Self { max: Bound { records: records.max(1), bytes: 64 * 1024 * 1024 }, shared: Arc::new(Shared::new(log)) }
    }

    /// Sets the number of bytes of records to keep; a larger record is kept alone.
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.max.bytes = bytes;
        self
    }

    /// Creates another log with the records of this one up to a position, like a backup that was
    /// made then: it has the same epoch, and records that are appended to one of them are not in
    /// the other.
    pub fn copy_up_to(&self, last: Position) -> Self {
        let log = self.shared.log();
        let kept = last.get().saturating_sub(log.start.get()) as usize;
        let entries: VecDeque<_> = log.entries.iter().take(kept).cloned().collect();
        let copy = Log {
            epoch: log.epoch,
            key: log.key.clone(),
            start: log.start,
            bytes: entries.iter().map(|entry| entry.size()).sum(),
            entries,
            keys: log.keys.copy_up_to(last),
            tails: HashMap::new(),
            next_tail: 0,
        };
        Self { max: self.max, shared: Arc::new(Shared::new(copy)) }
    }

    /// Sets the number of idempotency keys to remember (at least one), whether or not their records
    /// are still there; default 100,000.
    pub fn with_keys(self, keys: usize) -> Self {
        self.shared.log().keys.max = keys.max(1);
        self
    }
}

impl Shared {
    fn new(log: Log) -> Self {
        Self {
            log: Mutex::new(log),
            appended: Notify::new(),
            read: Notify::new(),
            pipe: broadcast::channel(PIPE_CAPACITY).0,
        }
    }

    /// Appends a record; returns `None` if the slowest tail is a whole log behind.
    fn append(
        &self,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<&RepeatKey>,
        max: Bound,
    ) -> Option<std::result::Result<Appended, AppendError>> {
        let mut log = self.log();
        if log.epoch != epoch {
            return Some(Err(AppendError::Epoch));
        }
        let key = key.map(|key| (key, Instant::now()));
        if let Some(repeat) = key.and_then(|(key, now)| log.keys.repeat(key, now)) {
            return Some(repeat);
        }
        if !log.make_room(record.size(), max) {
            return None;
        }
        log.bytes += record.size();
        log.entries.push_back(Arc::clone(record));
        let (position, id) = (log.last(), record.id());
        if let Some((key, now)) = key {
            log.keys.remember(key, position, id, now);
        }
        Some(Ok(Appended { position, id, repeated: false }))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn last(&self) -> Position {
        Position::new(self.start.get() + self.entries.len() as u64)
    }

    fn after(&self, position: Position, most: usize) -> Vec<Entry> {
        let skip = position.get().saturating_sub(self.start.get()) as usize;
        let first = self.start.get() + skip as u64 + 1;
        let entries = self.entries.iter().skip(skip).take(most);
        entries
            .enumerate()
            .map(|(i, record)| Entry {
                position: Position::new(first + i as u64),
                id: record.id(),
                record: Stored::Value(Arc::clone(record)),
            })
            .collect()
    }

    fn state(&self) -> LogState {
        LogState { epoch: self.epoch, last: self.last(), start: self.start, key: self.key.clone() }
    }

    /// Returns whether the record with this id is missing from its position, and was not just
    /// dropped as the oldest.
    fn has_lost(&self, position: Position, id: EventId) -> bool {
        let at = position.get().checked_sub(self.start.get() + 1);
        match at.map(|at| self.entries.get(at as usize)) {
            Some(found) => found.is_none_or(|found| found.id() != id),
            None => false,
        }
    }

    /// Makes room for a record of this size, unless a tail still needs the oldest; returns whether
    /// there is room.
    fn make_room(&mut self, size: usize, max: Bound) -> bool {
        while let Some(entry) = self.entries.front()
            && (self.entries.len() >= max.records || self.bytes + size > max.bytes)
        {
            let oldest = self.start.next();
            if self.tails.values().any(|read| *read < oldest) {
                return false;
            }
            self.bytes -= entry.size();
            self.entries.pop_front();
            self.start = oldest;
        }
        true
    }
}

#[async_trait]
impl Backplane for MemoryBackplane {
    async fn append(
        &self,
        epoch: Epoch,
        record: Arc<Record>,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError> {
        loop {
            let read = self.shared.read.notified();
            let answer = self.shared.append(epoch, &record, key.as_ref(), self.max);
            self.wake_tails();
            match answer {
                Some(answer) => return answer,
                None => read.await,
            }
        }
    }

    fn append_now(
        &self,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> Option<std::result::Result<Appended, AppendError>> {
        self.shared.append(epoch, record, key.as_ref(), self.max)
    }

    fn wake_tails(&self) {
        self.shared.appended.notify_waiters();
    }

    fn tails(&self) -> usize {
        self.shared.log().tails.len()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        Ok(self.shared.log().after(after, most))
    }

    fn tail(&self, after: Position) -> Tail {
        let guard = TailGuard::new(Arc::clone(&self.shared), after);
        stream::unfold(guard, |mut guard| async move {
            let entries = guard.next().await;
            Some((Ok(entries), guard))
        })
        .boxed()
    }

    async fn state(&self) -> Result<LogState> {
        Ok(self.shared.log().state())
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        let shared = &self.shared;
        let mut log = shared.log();
        if log.epoch == seen && log.has_lost(position, id) {
            LogState { epoch: log.epoch, key: log.key, .. } = LogState::begin();
            log.keys.clear();
            // Appends that wait for room belong to the previous epoch.
            shared.read.notify_waiters();
        }
        Ok(log.state())
    }

    async fn publish(&self, record: Arc<Record>) -> Result<()> {
        // An error only means that there is no subscriber, which is no failure of a pipe that may
        // lose.
        let _ = self.shared.pipe.send(record);
        Ok(())
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        let receiver = self.shared.pipe.subscribe();
        let messages = stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(record) => return Some((Stored::Value(record), receiver)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "the pipe was read too slowly");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Ok(messages.boxed())
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::values::event::Event;
    use crate::values::target::Target;

    async fn append(backplane: &MemoryBackplane, payload: impl Into<Bytes>) -> Position {
        let epoch = backplane.state().await.unwrap().epoch;
        let event = Event::binary("e", payload.into()).unwrap();
        let record = Record::of_event(EventId::random(), Target::all(), event);
        backplane.append(epoch, record.into(), None).await.unwrap().position
    }

    #[tokio::test]
    async fn slow_tail_holds_appends_back_and_loses_nothing() {
        let backplane = MemoryBackplane::new(10);
        let mut tail = backplane.tail(Position::START);
        let writer = tokio::spawn({
            let backplane = backplane.clone();
            async move {
                for i in 0..1000u32 {
                    append(&backplane, i.to_string()).await;
                }
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 1000 {
            seen.extend(tail.next().await.unwrap().unwrap());
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
        for (i, entry) in seen.iter().enumerate() {
            assert_eq!(entry.position.get(), i as u64 + 1);
            let record = entry.record.decode().unwrap();
            assert_eq!(record.event().unwrap().1.payload().bytes(), &i.to_string());
        }
    }

    #[tokio::test]
    async fn append_waits_while_the_slowest_tail_is_a_log_behind() {
        let backplane = MemoryBackplane::new(2);
        let tail = backplane.tail(Position::START);
        for _ in 0..2 {
            append(&backplane, "x").await;
        }
        let mut blocked = Box::pin(append(&backplane, "y"));
        assert!(futures_util::poll!(blocked.as_mut()).is_pending());
        drop(tail);
        assert_eq!(blocked.await, Position::new(3));
        assert_eq!(backplane.state().await.unwrap().start, Position::new(1));
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_a_larger_record_is_kept_alone() {
        let backplane = MemoryBackplane::new(100).with_bytes(10_000);
        for size in [4_000, 4_000, 4_000, 50_000] {
            append(&backplane, vec![0; size]).await;
        }
        assert_eq!(backplane.state().await.unwrap().start, Position::new(3));
        append(&backplane, "x").await;
        assert_eq!(backplane.state().await.unwrap().start, Position::new(4));
    }

    #[tokio::test]
    async fn new_backplanes_have_different_epochs() {
        let [one, two] = [MemoryBackplane::default(), MemoryBackplane::default()];
        assert_ne!(one.state().await.unwrap().epoch, two.state().await.unwrap().epoch);
    }
}
