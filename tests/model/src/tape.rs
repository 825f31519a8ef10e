//! The log as it is handed to the process: what becomes of it behind the process's back, and what the process does with it
//! that nobody has asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use realtime_core::spi::{
    AppendError, Appended, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Stored, Tail,
};
use realtime_core::{Event, EventId, MemoryBackplane, Result, Target};
use realtime_testkit::FaultyBackplane;
use serde_json::Value;
use tokio::time::Instant;

use crate::log::Place;
use crate::schedule::Member;

/// The end of an absent user's rooms, as far as they were joined up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) place: Place,
    pub(crate) member: Member,
    pub(crate) seen: Place,
    pub(crate) at: Instant,
}

/// What the process has done by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// It has taken up a new life of the log, from this place on.
    Anew { epoch: Epoch, from: Place, at: Instant },
    /// It has applied the end of an absent user's rooms.
    Ended(Ended),
    /// It has written one into a log that has lost records, and cannot have applied it yet.
    Written(Ended),
}

/// A log in memory that can lose records, and tells of what was not asked for.
#[derive(Clone)]
pub(crate) struct Tape {
    log: FaultyBackplane,
    keys: usize,
    at_once: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    end: Place,
    /// From here on the process has read the log.
    from: Place,
    /// Up to here it has applied it.
    handed: Place,
    /// The life that it reads.
    epoch: Option<Epoch>,
    /// Another one that it has been told of.
    next: Option<Epoch>,
    /// Records are gone that it has applied, and it goes on with the life of before.
    lost: bool,
    told: Vec<Told>,
    /// Ends of rooms that it has written and not applied yet.
    written: Vec<Ended>,
    /// Appends that could be answered at once.
    asked: u64,
}

impl Tape {
    /// It remembers so many idempotency keys. With `at_once` it answers most appends at once, as a log in memory does, so that
    /// who has sent applies its own record, and for the others has the process wait, so that a tail comes between.
    pub(crate) fn new(keys: usize, at_once: bool) -> Self {
        Self { log: FaultyBackplane::new(blank(keys)), keys, at_once, state: Arc::default() }
    }

    /// A process begins, which knows nothing of the one before.
    pub(crate) fn begin(&self) {
        *self.lock() = State::default();
    }

    /// The life that the process reads.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.lock().epoch
    }

    /// Whether the process has applied all there is.
    pub(crate) fn is_applied(&self) -> bool {
        let state = self.lock();
        !state.lost && state.handed == state.end
    }

    /// The last place that the process has applied.
    pub(crate) fn applied(&self) -> Place {
        self.lock().handed
    }

    /// The place after which the process has begun to read.
    pub(crate) fn from(&self) -> Place {
        self.lock().from
    }

    /// What has happened since the last call.
    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.lock().told)
    }

    /// What the process has written by itself and not applied.
    pub(crate) fn unread(&self) -> Vec<Ended> {
        self.lock().written.clone()
    }

    /// Loses all records after a place, or all and with them its epoch; then another node writes these.
    pub(crate) async fn lose(&self, kept: Option<Place>, others: Vec<Arc<Record>>) -> Result<()> {
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
        let mut state = self.lock();
        state.end = end;
        state.lost = true;
        Ok(())
    }

    fn hand(&self, entry: &Entry) {
        let mut state = self.lock();
        if entry.position.get() <= state.handed {
            // Applied by who had sent it.
            return;
        }
        state.handed = entry.position.get();
        state.written.retain(|ended| ended.place > entry.position.get());
        state.told.extend(ended(entry.position, entry.record.bytes()).map(Told::Ended));
    }

    /// The process has appended a record.
    fn append_of(&self, position: Position, record: &Record) {
        let mut state = self.lock();
        state.end = position.get();
        match ended(position, record.bytes()) {
            Some(ended) if state.lost => state.told.push(Told::Written(ended)),
            Some(ended) => state.written.push(ended),
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It keeps everything, for only such a log can be rolled back.
fn blank(keys: usize) -> MemoryBackplane {
    MemoryBackplane::new(1_000_000).with_keys(keys)
}

/// Reads a record: a version byte, the header's length, the header as JSON.
fn ended(position: Position, record: &[u8]) -> Option<Ended> {
    let length = u32::from_be_bytes(record.get(1..5)?.try_into().ok()?) as usize;
    let header: Value = serde_json::from_slice(record.get(5..5 + length)?).ok()?;
    let absent = header["kind"].get("absent")?;
    let number = |name: &str| absent[name].as_str().and_then(|name| name[1..].parse().ok());
    let member = Member { user: number("user")?, tenant: number("tenant") };
    Some(Ended { place: position.get(), member, seen: absent["seen"].as_u64()?, at: Instant::now() })
}

/// An event for everybody, as another node writes it.
pub(crate) fn of_another_node(name: &str, data: &Value) -> Result<Arc<Record>> {
    Ok(Arc::new(Record::of_event(EventId::random(), Target::all(), Event::json(name, data)?)))
}

#[async_trait]
impl Backplane for Tape {
    async fn append(
        &self,
        epoch: Epoch,
        record: Arc<Record>,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError> {
        let appended = self.log.append(epoch, Arc::clone(&record), key).await?;
        if appended.repeated {
            return Ok(appended);
        }
        self.append_of(appended.position, &record);
        Ok(appended)
    }

    fn append_now(
        &self,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> Option<std::result::Result<Appended, AppendError>> {
        let asked = {
            let mut state = self.lock();
            state.asked += 1;
            state.asked
        };
        if !self.at_once || asked.is_multiple_of(4) {
            return None;
        }
        let answer = self.log.log().append_now(epoch, record, key)?;
        if let Ok(Appended { position, repeated: false, .. }) = answer {
            self.append_of(position, record);
            let mut state = self.lock();
            // The process applies it before anything else happens, unless there are others before it.
            if !state.lost && state.handed == position.get() - 1 {
                state.handed = position.get();
                let ended = state.written.pop_if(|ended| ended.place == position.get());
                state.told.extend(ended.map(Told::Ended));
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
        let mut state = self.lock();
        (state.from, state.handed) = (after.get(), after.get());
        if let Some(epoch) = state.next.take() {
            state.lost = false;
            state.epoch = Some(epoch);
            state.told.push(Told::Anew { epoch, from: after.get(), at: Instant::now() });
        }
        drop(state);
        let tape = self.clone();
        let entries = self.log.tail(after);
        let handed = entries.inspect(move |batch| batch.iter().flatten().for_each(|entry| tape.hand(entry)));
        Box::pin(handed)
    }

    async fn state(&self) -> Result<LogState> {
        let found = self.log.state().await?;
        let mut state = self.lock();
        if state.epoch.is_none() {
            (state.epoch, state.end) = (Some(found.epoch), found.last.get());
        }
        Ok(found)
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        let found = self.log.renew(seen, position, id).await?;
        let mut state = self.lock();
        state.next = Some(found.epoch).filter(|epoch| state.epoch != Some(*epoch));
        Ok(found)
    }

    async fn publish(&self, record: Arc<Record>) -> Result<()> {
        self.log.publish(record).await
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        self.log.subscribe().await
    }
}
