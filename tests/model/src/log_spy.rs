//! The backplane of the process under test: it loses records behind the process's back, and records
//! what the process does with its log on its own account.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use realtime_core::spi::{
    AppendResult, Appended, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Revocation, RoomTable,
    Stored, Tail,
};
use realtime_core::{Event, EventId, MemoryBackplane, NodeId, Result, Target};
use realtime_testkit::FaultyBackplane;
use serde_json::Value;
use tokio::time::Instant;

use crate::lock;
use crate::schedule::Member;

/// A record that ends the rooms of an absent user, as far as they were joined up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(crate) position: u64,
    pub(crate) member: Member,
    /// The last position whose joins it ends.
    pub(crate) seen: u64,
    pub(crate) at: Instant,
}

/// An action that the process has taken on its own account.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LogEvent {
    /// The node has applied the end of an absent user's rooms.
    Absence(Absence),
    /// The node has begun a new life of the log, and reads it after this position.
    NewLife { epoch: Epoch, from: u64, at: Instant },
    /// The node has written the end of an absent user's rooms into a log that has lost records, and
    /// cannot have applied it yet.
    UnappliedAbsence(Absence),
}

/// A log in memory that can lose records, and reports what the process does with it.
#[derive(Clone)]
pub(crate) struct LogSpy {
    log: FaultyBackplane,
    keys: usize,
    answers_at_once: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    end: u64,
    /// The position after which the process has begun to read.
    from: u64,
    /// The last position that it has applied.
    applied: u64,
    /// The epoch that it reads.
    epoch: Option<Epoch>,
    /// Another epoch that it has learned of.
    next: Option<Epoch>,
    /// Set while records are gone that it has applied, and it continues with the previous epoch.
    lost: bool,
    events: Vec<LogEvent>,
    /// Ends of rooms that it has written and not applied yet.
    written: Vec<Absence>,
    /// The number of appends that could be answered immediately.
    requests: u64,
}

impl LogSpy {
    /// Creates an empty log that remembers `keys` idempotency keys.
    ///
    /// With `answers_at_once` it answers most appends immediately, as a log in memory does, so that
    /// the sender applies its own record; for the others the process has to wait, so that a tail
    /// comes between.
    pub(crate) fn new(keys: usize, answers_at_once: bool) -> Self {
        Self { log: FaultyBackplane::new(blank(keys)), keys, answers_at_once, state: Arc::default() }
    }

    /// Starts a new process, which knows nothing of the previous one.
    pub(crate) fn begin(&self) {
        *lock(&self.state) = State::default();
    }

    /// Returns the epoch that the process reads.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        lock(&self.state).epoch
    }

    /// Returns whether the process has applied every record.
    pub(crate) fn is_applied(&self) -> bool {
        let state = lock(&self.state);
        !state.lost && state.applied == state.end
    }

    /// Returns the last position that the process has applied.
    pub(crate) fn applied(&self) -> u64 {
        lock(&self.state).applied
    }

    /// Returns the position after which the process has begun to read.
    pub(crate) fn from(&self) -> u64 {
        lock(&self.state).from
    }

    /// Takes what has happened since the last call.
    pub(crate) fn take_events(&self) -> Vec<LogEvent> {
        std::mem::take(&mut lock(&self.state).events)
    }

    /// Returns what the process has written on its own account and not applied.
    pub(crate) fn unapplied(&self) -> Vec<Absence> {
        lock(&self.state).written.clone()
    }

    /// Loses all records after a position, or all of them and the epoch too; then another node
    /// writes these.
    pub(crate) async fn lose(&self, kept: Option<u64>, others: Vec<Arc<Record>>) -> Result<()> {
        match kept {
            Some(kept) => self.log.roll_back(Position::new(kept)).await,
            None => self.log.exchange(blank(self.keys)),
        }
        let epoch = self.log.state().await?.epoch;
        let mut end = kept.unwrap_or_default();
        for record in others {
            let id = record.id();
            end = self.log.append(epoch, record, None).await.map_err(|error| error.into_error(id))?.position.get();
        }
        let mut state = lock(&self.state);
        state.end = end;
        state.lost = true;
        Ok(())
    }

    /// The process has read an entry.
    fn on_read(&self, entry: &Entry) {
        let mut state = lock(&self.state);
        let position = entry.position.get();
        if position <= state.applied {
            // Applied by its sender.
            return;
        }
        state.applied = position;
        state.written.retain(|absence| absence.position > position);
        state.events.extend(absence_in(position, entry.record.bytes()).map(LogEvent::Absence));
    }

    /// The process has appended a record.
    fn on_append(&self, position: u64, record: &Record) {
        let mut state = lock(&self.state);
        state.end = position;
        match absence_in(position, record.bytes()) {
            Some(absence) if state.lost => state.events.push(LogEvent::UnappliedAbsence(absence)),
            Some(absence) => state.written.push(absence),
            None => {}
        }
    }
}

/// Creates a log that keeps everything, for only such a log can be rolled back.
fn blank(keys: usize) -> MemoryBackplane {
    MemoryBackplane::new(1_000_000).with_keys(keys)
}

/// Reads a record: a byte of the version and one of flags, the header's length, the header as JSON.
fn absence_in(position: u64, record: &[u8]) -> Option<Absence> {
    let length = u32::from_be_bytes(record.get(2..6)?.try_into().ok()?) as usize;
    let header: Value = serde_json::from_slice(record.get(6..6 + length)?).ok()?;
    let absent = header["kind"].get("absent")?;
    let number = |name: &str| absent[name].as_str().and_then(|name| name[1..].parse().ok());
    let member = Member { user: number("user")?, tenant: number("tenant") };
    Some(Absence { position, member, seen: absent["seen"].as_u64()?, at: Instant::now() })
}

/// Creates an event for everyone, as another node writes it.
pub(crate) fn of_another_node(name: &str, data: &Value) -> Result<Arc<Record>> {
    Ok(Arc::new(Record::of_event(EventId::random(), Target::all(), Event::json(name, data)?)))
}

#[async_trait]
impl Backplane for LogSpy {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        let appended = self.log.append(epoch, Arc::clone(&record), key).await?;
        if !appended.repeated {
            self.on_append(appended.position.get(), &record);
        }
        Ok(appended)
    }

    fn append_now(&self, epoch: Epoch, record: &Arc<Record>, key: Option<RepeatKey>) -> Option<AppendResult> {
        let mut state = lock(&self.state);
        state.requests += 1;
        if !self.answers_at_once || state.requests.is_multiple_of(4) {
            return None;
        }
        drop(state);
        let answer = self.log.log().append_now(epoch, record, key)?;
        if let Ok(Appended { position, repeated: false, .. }) = answer {
            let position = position.get();
            self.on_append(position, record);
            let mut state = lock(&self.state);
            // The process applies it before anything else happens, unless others come before it.
            if !state.lost && state.applied == position - 1 {
                state.applied = position;
                let absence = state.written.pop_if(|absence| absence.position == position);
                state.events.extend(absence.map(LogEvent::Absence));
            }
        }
        Some(answer)
    }

    fn wake_tails(&self) {
        self.log.log().wake_tails();
    }

    fn tails(&self) -> usize {
        self.log.log().tails()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.log.range(after, most).await
    }

    fn tail(&self, after: Position) -> Tail {
        let mut state = lock(&self.state);
        (state.from, state.applied) = (after.get(), after.get());
        if let Some(epoch) = state.next.take() {
            state.lost = false;
            state.epoch = Some(epoch);
            state.events.push(LogEvent::NewLife { epoch, from: after.get(), at: Instant::now() });
        }
        drop(state);
        let spy = self.clone();
        let entries = self.log.tail(after);
        let entries = entries.inspect(move |batch| batch.iter().flatten().for_each(|entry| spy.on_read(entry)));
        Box::pin(entries)
    }

    async fn state(&self) -> Result<LogState> {
        let found = self.log.state().await?;
        let mut state = lock(&self.state);
        if state.epoch.is_none() {
            (state.epoch, state.end) = (Some(found.epoch), found.last.get());
        }
        Ok(found)
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        let found = self.log.renew(seen, position, id).await?;
        let mut state = lock(&self.state);
        state.next = Some(found.epoch).filter(|epoch| state.epoch != Some(*epoch));
        Ok(found)
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        self.log.rooms(at).await
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.log.revoke(revocation, most).await
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        self.log.revoked().await
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.log.publish(record, to).await
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        self.log.subscribe(node).await
    }

    async fn probe(&self) -> Result<()> {
        self.log.probe().await
    }
}
