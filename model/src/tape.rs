//! What the process writes into its log by itself, as it is handed to it: the ends of absent users' rooms.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use realtime_core::{AppendError, Backplane, Entry, Epoch, EventId, LogState, MemoryBackplane, Position, Result, Tail};
use serde_json::Value;
use tokio::time::Instant;

use crate::log::Place;
use crate::schedule::Member;

/// The end of an absent user's rooms, as far as they were joined up to a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) place: Place,
    pub(crate) member: Member,
    pub(crate) seen: Place,
    pub(crate) at: Instant,
}

/// A log in memory that tells of what was not asked for.
#[derive(Clone, Default)]
pub(crate) struct Tape {
    log: MemoryBackplane,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    appended: Place,
    /// Up to here the process has applied the log.
    handed: Place,
    ended: Vec<Ended>,
}

impl Tape {
    /// Whether the process has applied all there is.
    pub(crate) fn is_applied(&self) -> bool {
        let state = self.lock();
        state.handed == state.appended
    }

    /// What has been applied since the last call.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        std::mem::take(&mut self.lock().ended)
    }

    fn hand(&self, entry: &Entry) {
        let mut state = self.lock();
        state.handed = entry.position.get();
        if let Some((member, seen)) = absent(&entry.record) {
            state.ended.push(Ended { place: entry.position.get(), member, seen, at: Instant::now() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a record: a version byte, the header's length, the header as JSON.
fn absent(record: &[u8]) -> Option<(Member, Place)> {
    let length = u32::from_be_bytes(record.get(1..5)?.try_into().ok()?) as usize;
    let header: Value = serde_json::from_slice(record.get(5..5 + length)?).ok()?;
    let absent = header["kind"].get("absent")?;
    let number = |name: &str| absent[name].as_str().and_then(|name| name[1..].parse().ok());
    Some((Member { user: number("user")?, tenant: number("tenant") }, absent["seen"].as_u64()?))
}

#[async_trait]
impl Backplane for Tape {
    async fn append(
        &self,
        subject: &str,
        epoch: Epoch,
        id: EventId,
        record: Bytes,
    ) -> std::result::Result<Position, AppendError> {
        let position = self.log.append(subject, epoch, id, record).await?;
        let mut state = self.lock();
        state.appended = state.appended.max(position.get());
        Ok(position)
    }

    async fn range(&self, subject: &str, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.log.range(subject, after, most).await
    }

    fn tail(&self, subject: &str, after: Position) -> Tail {
        let tape = self.clone();
        let entries = self.log.tail(subject, after);
        let handed = entries.inspect(move |batch| batch.iter().flatten().for_each(|entry| tape.hand(entry)));
        Box::pin(handed)
    }

    async fn state(&self, subject: &str) -> Result<LogState> {
        self.log.state(subject).await
    }

    async fn renew(&self, subject: &str, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        self.log.renew(subject, seen, position, id).await
    }

    async fn publish(&self, subject: &str, message: Bytes) -> Result<()> {
        self.log.publish(subject, message).await
    }

    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, Bytes>> {
        self.log.subscribe(subject).await
    }
}
