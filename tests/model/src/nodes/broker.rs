//! The simulated broker: one log and one pipe for all nodes, which loses records on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use realtime_core::spi::{
    AppendResult, Appended, Backplane, Entry, Epoch, LocalPipe, LogState, Position, Record, RepeatKey, RoomTable,
    Stored,
};
use realtime_core::{EventId, MemoryBackplane};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lock;
use crate::nodes::truth::{Place, Truth};

/// A broker; clones are the same one.
#[derive(Clone)]
pub(crate) struct Broker(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    pipe: LocalPipe,
    /// The number of changes of the log, for the tails.
    changes: watch::Sender<u64>,
}

pub(crate) struct Inner {
    log: MemoryBackplane,
    pub(crate) truth: Truth,
    /// The records of the log, the first one at position 1.
    chain: Vec<usize>,
    /// The last time at which the log lost records, or began a new life.
    pub(crate) disturbed_at: Instant,
    /// The number of lives that were begun for a loss that a node noticed.
    pub(crate) renewals: u64,
    /// When each epoch was begun.
    pub(crate) epochs: BTreeMap<u64, Instant>,
    /// A record that could not be read, which ends the run.
    pub(crate) failed: Option<String>,
}

/// A log in memory answers everything at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a log in memory does not wait")
}

fn blank() -> MemoryBackplane {
    MemoryBackplane::new(1_000_000)
}

impl Broker {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            log: blank(),
            truth: Truth::default(),
            chain: Vec::new(),
            disturbed_at: Instant::now() - Duration::from_secs(60),
            renewals: 0,
            epochs: BTreeMap::new(),
            failed: None,
        };
        Self(Arc::new(Shared { inner: Mutex::new(inner), pipe: LocalPipe::default(), changes: watch::Sender::new(0) }))
    }

    /// Calls a function with the state.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut Inner) -> T) -> T {
        call(&mut lock(&self.0.inner))
    }

    pub(crate) fn append(
        &self,
        link: usize,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> AppendResult {
        let answer = self.with(|inner| inner.append(link, epoch, record, key));
        self.0.changes.send_modify(|changes| *changes += 1);
        answer
    }

    pub(crate) fn range(&self, after: Position, most: usize) -> Vec<Entry> {
        self.with(|inner| {
            let entries = now(inner.log.range(after, most)).expect("a log in memory can be read");
            entries.into_iter().map(as_bytes).collect()
        })
    }

    pub(crate) fn state(&self) -> LogState {
        self.with(|inner| inner.state())
    }

    pub(crate) fn renew(&self, seen: Epoch, position: Position, id: EventId) -> LogState {
        self.with(|inner| {
            let before = inner.state().epoch;
            let state = now(inner.log.renew(seen, position, id)).expect("a log in memory has a state");
            if state.epoch != before {
                inner.disturbed_at = Instant::now();
                inner.renewals += 1;
            }
            inner.state();
            state
        })
    }

    pub(crate) fn rooms(&self, at: Position) -> RoomTable {
        self.with(|inner| now(inner.log.rooms(at)).expect("a log in memory has rooms"))
    }

    pub(crate) fn pipe(&self) -> &LocalPipe {
        &self.0.pipe
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Loses the last records, or without a number all of them and the epoch.
    pub(crate) fn lose(&self, records: Option<usize>) {
        self.with(|inner| {
            let kept = records.map(|records| inner.chain.len().saturating_sub(records));
            inner.log = match kept {
                Some(kept) => inner.log.copy_up_to(Position::new(kept as u64)),
                None => blank(),
            };
            inner.chain.truncate(kept.unwrap_or(0));
            inner.disturbed_at = Instant::now();
            inner.state();
        });
        self.0.changes.send_modify(|changes| *changes += 1);
    }
}

impl Inner {
    fn append(&mut self, link: usize, epoch: Epoch, record: &Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        let answer = self.log.append_now(epoch, record, key).expect("a log in memory answers at once");
        if let Ok(Appended { repeated: false, position, .. }) = answer {
            match self.truth.push(self.chain.last().copied(), epoch, record, link) {
                Ok(number) => self.chain.push(number),
                Err(error) => self.failed = Some(error),
            }
            debug_assert_eq!(position.get(), self.chain.len() as u64);
        }
        answer
    }

    fn state(&mut self) -> LogState {
        let state = now(self.log.state()).expect("a log in memory has a state");
        self.epochs.entry(state.epoch.get()).or_insert_with(Instant::now);
        state
    }

    /// Returns the last record.
    pub(crate) fn tip(&self) -> Place {
        self.chain.last().copied()
    }

    /// Returns the record at a position.
    pub(crate) fn at(&self, position: u64) -> Place {
        self.chain.get(usize::try_from(position.checked_sub(1)?).ok()?).copied()
    }

    pub(crate) fn epoch(&mut self) -> Epoch {
        self.state().epoch
    }
}

fn as_bytes(mut entry: Entry) -> Entry {
    entry.record = Stored::Bytes(entry.record.bytes().clone());
    entry
}
