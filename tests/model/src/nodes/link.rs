//! A node's connection to the broker, with faults of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::spi::{
    AppendError, AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, RoomTable, Stored, Tail,
};
use realtime_core::{Error, EventId, NodeId, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::lock;
use crate::nodes::broker::Broker;
use crate::nodes::schedule::Fault;
use crate::nodes::truth::Place;

/// The time after which a late append takes place.
const LATE: Duration = Duration::from_millis(2_500);
/// The number of records in a batch of a tail.
const BATCH: usize = 64;

/// A node's connection to the broker; clones are the same one.
#[derive(Clone)]
pub(crate) struct Link(Arc<Shared>);

struct Shared {
    broker: Broker,
    number: usize,
    up: watch::Sender<bool>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) append_delay: Duration,
    pub(crate) tail_delay: Duration,
    /// The fault of the next appends, and of how many.
    pub(crate) fault: Option<(Fault, usize)>,
    /// The number of messages of the pipe that are lost next.
    pub(crate) lose_messages: usize,
    /// When the last one was lost.
    pub(crate) lost_at: Instant,
    /// The number of reads that fail next: state, renewals, rooms, ranges.
    pub(crate) fail_reads: usize,
    /// The last time at which something failed, or was about to.
    pub(crate) fault_at: Instant,
    /// The last time at which the connection was cut; now while it is.
    pub(crate) cut_at: Instant,
    /// The records that the node's tails have returned, and when they did first.
    pub(crate) delivered: HashMap<usize, Instant>,
    /// The last one.
    pub(crate) last: Place,
    /// The faults that have happened.
    pub(crate) happened: Vec<&'static str>,
}

/// A tail's place in the log.
struct Reader {
    link: Link,
    after: Position,
    /// The record there.
    id: Option<EventId>,
    changes: watch::Receiver<u64>,
    up: watch::Receiver<bool>,
}

impl Link {
    pub(crate) fn new(broker: Broker, number: usize) -> Self {
        let long_ago = Instant::now() - Duration::from_secs(600);
        let state = State {
            append_delay: Duration::ZERO,
            tail_delay: Duration::ZERO,
            fault: None,
            lose_messages: 0,
            lost_at: long_ago,
            fail_reads: 0,
            fault_at: long_ago,
            cut_at: long_ago,
            delivered: HashMap::new(),
            last: None,
            happened: Vec::new(),
        };
        Self(Arc::new(Shared { broker, number, up: watch::Sender::new(true), state: Mutex::new(state) }))
    }

    /// Calls a function with the state.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        call(&mut lock(&self.0.state))
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.0.up.borrow()
    }

    /// Cuts the connection, or restores it.
    pub(crate) fn set_up(&self, up: bool) {
        if self.is_up() != up {
            self.with(|state| (state.cut_at, state.fault_at) = (Instant::now(), Instant::now()));
            self.0.up.send_replace(up);
        }
    }

    /// Ends all faults and delays.
    pub(crate) fn heal(&self) {
        self.with(|state| {
            if state.fault.take().is_some() || state.lose_messages > 0 || state.fail_reads > 0 {
                state.fault_at = Instant::now();
            }
            if state.tail_delay > CALM || state.append_delay > CALM {
                state.fault_at = Instant::now();
            }
            (state.lose_messages, state.fail_reads) = (0, 0);
            (state.append_delay, state.tail_delay) = (Duration::ZERO, Duration::ZERO);
        });
        self.set_up(true);
    }

    /// Returns whether nothing has failed since this time, and nothing is about to.
    pub(crate) fn is_calm_since(&self, since: Instant) -> bool {
        self.is_up()
            && self.with(|state| {
                let calm = state.append_delay <= CALM && state.tail_delay <= CALM;
                calm && state.fault_at < since && state.fault.is_none() && state.fail_reads == 0
            })
    }

    /// Returns the last time at which the connection was cut, if it ever was.
    pub(crate) fn cut_at(&self) -> Instant {
        if self.is_up() { self.with(|state| state.cut_at) } else { Instant::now() }
    }

    fn check(&self) -> Result<()> {
        if self.is_up() { Ok(()) } else { Err(Error::Backplane("the broker cannot be reached".into())) }
    }

    fn check_read(&self) -> Result<()> {
        self.check()?;
        self.with(|state| match state.fail_reads.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                (state.fail_reads, state.fault_at) = (left, Instant::now());
                state.happened.push("a read failed");
                Err(Error::Backplane("the broker is busy".into()))
            }
        })
    }

    fn take_fault(&self) -> Option<Fault> {
        self.with(|state| {
            let (fault, left) = state.fault?;
            state.fault = (left > 1).then_some((fault, left - 1));
            state.fault_at = Instant::now();
            state.happened.push(fault.name());
            Some(fault)
        })
    }
}

/// The longest delay that is no fault.
pub(crate) const CALM: Duration = Duration::from_millis(600);

fn broken() -> AppendError {
    AppendError::Unknown("the connection broke".into())
}

#[async_trait]
impl Backplane for Link {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        let Shared { broker, number, .. } = &*self.0;
        if !self.is_up() {
            self.with(|state| state.happened.push("append refused: not connected"));
            return Err(AppendError::Refused("the broker cannot be reached".into()));
        }
        let fault = self.take_fault();
        match fault {
            Some(Fault::Refused) => return Err(AppendError::Refused("the broker is full".into())),
            Some(Fault::Unknown) => return Err(broken()),
            Some(Fault::NoReply) => std::future::pending::<()>().await,
            Some(Fault::Late) => {
                let (broker, number) = (broker.clone(), *number);
                tokio::spawn(async move {
                    sleep(LATE).await;
                    let _ = broker.append(number, epoch, &record, key);
                });
                return std::future::pending().await;
            }
            _ => {}
        }
        let delay = self.with(|state| state.append_delay);
        sleep(delay).await;
        if !self.is_up() {
            return Err(broken());
        }
        let answer = broker.append(*number, epoch, &record, key);
        if matches!(fault, Some(Fault::AppliedNoReply)) {
            std::future::pending::<()>().await;
        }
        sleep(delay).await;
        let is_lost = matches!(fault, Some(Fault::UnknownThoughTaken)) || !self.is_up();
        if is_lost { Err(broken()) } else { answer }
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.check_read()?;
        Ok(self.0.broker.range(after, most))
    }

    fn tail(&self, after: Position) -> Tail {
        let found = self.0.broker.range(after.previous(), 1);
        let id = found.first().filter(|entry| entry.position == after).map(|entry| entry.id);
        let (changes, up) = (self.0.broker.changes(), self.0.up.subscribe());
        let reader = Reader { link: self.clone(), after, id, changes, up };
        stream::unfold(reader, |mut reader| async move {
            let batch = tokio::select! {
                biased;
                _ = reader.up.wait_for(|up| !up) => Err(Error::Backplane("the connection broke".into())),
                batch = next_batch(&reader.link, reader.after, reader.id, &mut reader.changes) => Ok(batch),
            };
            if let Some(last) = batch.iter().flatten().last() {
                (reader.after, reader.id) = (last.position, Some(last.id));
            }
            if batch.is_err() {
                sleep(Duration::from_millis(1)).await;
            }
            Some((batch, reader))
        })
        .boxed()
    }

    async fn state(&self) -> Result<LogState> {
        self.check_read()?;
        Ok(self.0.broker.state())
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        self.check_read()?;
        Ok(self.0.broker.renew(seen, position, id))
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        self.check_read()?;
        Ok(self.0.broker.rooms(at))
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.check()?;
        let is_lost = self.with(|state| {
            let left = state.lose_messages.checked_sub(1);
            if let Some(left) = left {
                (state.lose_messages, state.lost_at) = (left, Instant::now());
                state.happened.push("a message between nodes was lost");
            }
            left.is_some()
        });
        if !is_lost {
            self.0.broker.pipe().publish(record, to);
        }
        Ok(())
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        self.check()?;
        let mut up = self.0.up.subscribe();
        let messages = self.0.broker.pipe().subscribe(node);
        let messages = messages.map(|message| Stored::Bytes(message.bytes().clone()));
        Ok(messages.take_until(async move { up.wait_for(|up| !up).await.map(drop) }).boxed())
    }

    async fn probe(&self) -> Result<()> {
        self.check()
    }
}

/// Returns the next records; waits forever if the one before them is not the one that was read.
async fn next_batch(
    link: &Link,
    after: Position,
    id: Option<EventId>,
    changes: &mut watch::Receiver<u64>,
) -> Vec<Entry> {
    loop {
        changes.mark_unchanged();
        if link.0.broker.range(after, 1).is_empty() {
            let _ = changes.changed().await;
            continue;
        }
        sleep(link.with(|state| state.tail_delay)).await;
        let mut entries = link.0.broker.range(after.previous(), BATCH);
        if after > Position::START {
            let is_same = entries.first().is_some_and(|first| id.is_none_or(|id| first.id == id));
            if !is_same {
                std::future::pending::<()>().await;
            }
            entries.remove(0);
        }
        if !entries.is_empty() {
            link.note_delivered(&entries);
            return entries;
        }
    }
}

impl Link {
    fn note_delivered(&self, entries: &[Entry]) {
        let numbers: Vec<_> =
            self.0.broker.with(|inner| entries.iter().filter_map(|entry| inner.at(entry.position.get())).collect());
        self.with(|state| {
            for number in numbers {
                state.delivered.entry(number).or_insert_with(Instant::now);
                state.last = Some(number);
            }
        });
    }
}
