//! The thread that writes: one change of the store for all appends that wait.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use realtime_core::spi::{
    AppendError, AppendResult, Appended, Epoch, Kept, LogState, MemoryLog, Position, RepeatKey, Revocation,
    RevocationTable, Stored,
};
use realtime_core::{Error, EventId};
use tokio::sync::oneshot;

use crate::config::SyncMode;
use crate::error::DiskError;
use crate::lock::Lock;
use crate::request::{Append, Renewal, Request, gather, refuse};
use crate::revoked::{self, Revoke};
use crate::store::{Change, Store};

/// The interval at which old records are dropped while nothing is appended.
const SWEEP: Duration = Duration::from_secs(1);
/// The pause before the slowest tail, or a table that is written, is looked at again.
const PAUSE: Duration = Duration::from_millis(1);
const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);

/// The state that the handles and the thread of a backplane share.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// Set from a failed write until the store is open again.
    pub(crate) failed: AtomicBool,
    /// Set when the last handle is dropped.
    pub(crate) closed: AtomicBool,
    /// The number of appends that the thread has not taken yet.
    pub(crate) waiting: AtomicUsize,
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) directory: PathBuf,
    pub(crate) sync: SyncMode,
    pub(crate) table_bytes: u64,
    pub(crate) log: MemoryLog,
    pub(crate) status: Arc<Status>,
    /// `None` from a failed write until it is open again.
    pub(crate) store: Option<Store>,
    /// The log's start in the store: records that were dropped since are still in it.
    pub(crate) start: Position,
    /// The users whose rooms as of the log's start have changed since they were stored.
    pub(crate) changed: BTreeSet<String>,
    /// The idempotency keys that are forgotten, and still in the store.
    pub(crate) forgotten: Vec<[u8; 16]>,
    /// The time of the first write that is not synced yet.
    pub(crate) unsynced: Option<Instant>,
    pub(crate) revoked: Arc<RevocationTable>,
    pub(crate) _lock: Lock,
}

/// The appends of one change.
#[derive(Default)]
struct Group {
    /// The position before the first of them.
    last: Position,
    planned: Vec<Planned>,
    bytes: usize,
    /// Appends that repeat one of this group, with its number.
    repeats: Vec<(usize, oneshot::Sender<AppendResult>)>,
    /// The numbers of the appends with a key.
    keys: HashMap<[u8; 16], usize>,
}

impl Group {
    fn of(appends: usize, last: Position) -> Self {
        Self { last, planned: Vec::with_capacity(appends), ..Self::default() }
    }
}

struct Planned {
    epoch: Epoch,
    position: Position,
    kept: Kept,
    key: Option<RepeatKey>,
    answer: oneshot::Sender<AppendResult>,
}

impl Writer {
    /// Writes until the last handle is dropped, then closes the store.
    pub(crate) fn run(mut self, requests: &Receiver<Request>) {
        let mut swept = Instant::now();
        loop {
            let first = match requests.recv_timeout(self.pause(swept)) {
                Err(RecvTimeoutError::Disconnected) => return self.close(),
                first => first.ok(),
            };
            // Whoever appends on the same processor does so before the change is written.
            std::thread::yield_now();
            let (appends, other) = gather(first, requests);
            if !appends.is_empty() {
                self.append(appends);
            }
            // Nobody waits for an answer, if one cannot be sent.
            match other {
                Some(Request::Probe(answer)) => drop(answer.send(self.probe())),
                Some(Request::Renew(Renewal { seen, position, id, answer })) => {
                    let _ = answer.send(self.renew(seen, position, id));
                }
                Some(Request::Revoke(Revoke { revocation, most, answer })) => {
                    let _ = answer.send(self.revoke(&revocation, most));
                }
                _ => {}
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep();
            }
            self.sync_if_due();
            self.bound_files();
            if self.store.is_none() {
                self.reopen(requests);
            }
        }
    }

    /// Returns how long the thread may wait for a request.
    fn pause(&self, swept: Instant) -> Duration {
        let sweep = SWEEP.saturating_sub(swept.elapsed());
        let SyncMode::Every(interval) = self.sync else { return sweep };
        self.unsynced.map_or(sweep, |since| interval.saturating_sub(since.elapsed()).min(sweep))
    }

    /// Appends what can be appended, in one change of the store.
    fn append(&mut self, appends: Vec<Vec<Append>>) {
        let number = appends.iter().map(Vec::len).sum();
        self.status.waiting.fetch_sub(number, Ordering::Relaxed);
        let now = tokio::time::Instant::now();
        self.forgotten.extend(self.log.forget_keys(0, now));
        let mut group = Group::of(number, self.log.state().last);
        for append in appends.into_iter().flatten() {
            self.plan(append, &mut group, now);
        }
        self.forgotten.extend(self.log.forget_keys(group.keys.len(), now));
        match self.write(&group.planned) {
            Ok(()) => self.publish(group),
            Err(error) => self.resolve_failed_write(group, &error),
        }
    }

    /// Decides about one append: answers it, or adds it to the group.
    fn plan(&mut self, append: Append, group: &mut Group, now: tokio::time::Instant) {
        let Append { epoch, record, key, answer } = append;
        // Nobody waits for an answer, if one cannot be sent.
        if answer.is_closed() {
            return;
        }
        if let Some(decided) = self.log.repeat(epoch, key.as_ref(), now) {
            let _ = answer.send(decided);
            return;
        }
        if let Some(first) = key.and_then(|key| group.keys.get(&key.key).copied()) {
            if group.planned[first].key.map(|key| key.content) == key.map(|key| key.content) {
                group.repeats.push((first, answer));
            } else {
                let _ = answer.send(Err(AppendError::KeyReused));
            }
            return;
        }
        let size = record.size();
        while !self.log.reserve(group.planned.len() + 1, group.bytes + size, |user| {
            self.changed.insert(user.to_owned());
        }) {
            if self.status.closed.load(Ordering::Acquire) {
                let _ = answer.send(Err(AppendError::Refused(DiskError::Closed.into())));
                return;
            }
            std::thread::sleep(PAUSE);
        }
        group.bytes += size;
        if let Some(key) = key {
            group.keys.insert(key.key, group.planned.len());
        }
        let position = Position::new(group.last.get() + group.planned.len() as u64 + 1);
        let kept = Kept::new(record.id(), Stored::from(record), size, now);
        group.planned.push(Planned { epoch, position, kept, key, answer });
    }

    /// Writes records, and what was dropped meanwhile.
    fn write(&mut self, planned: &[Planned]) -> Result<(), DiskError> {
        let store = self.store.as_ref().ok_or(DiskError::Reopening)?;
        let start = self.log.state().start;
        if planned.is_empty() && self.forgotten.is_empty() && start == self.start {
            return Ok(());
        }
        // A key that was forgotten can belong to one of these records now.
        let renewed: HashSet<_> = planned.iter().filter_map(|planned| planned.key.map(|key| key.key)).collect();
        self.forgotten.retain(|key| !renewed.contains(key));
        let mut change = store.change();
        change.reserve(planned.iter().map(|planned| planned.kept.size).sum());
        for Planned { epoch, position, kept, key, .. } in planned {
            change.append(*epoch, *position, kept.id, &kept.record, key.as_ref());
        }
        self.forgotten.iter().for_each(|key| change.forget_key(key));
        if start > self.start {
            self.set_start(&mut change, start);
        }
        let sync = self.sync == SyncMode::Always;
        change.commit(sync)?;
        self.start = start;
        self.changed.clear();
        self.forgotten.clear();
        if !sync {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Adds the log's start to a change, and the rooms as of it.
    fn set_start(&self, change: &mut Change<'_>, start: Position) {
        change.set_start(start);
        for user in &self.changed {
            change.set_rooms(user, self.log.rooms_of(user).as_ref());
        }
    }

    /// Shows records that are stored to the tails, and answers their appends.
    fn publish(&self, group: Group) {
        let answers: Vec<(Appended, _)> = group
            .planned
            .into_iter()
            .map(|planned| (self.log.push(planned.kept, planned.key.as_ref()), planned.answer))
            .collect();
        self.log.wake_tails();
        for (first, answer) in group.repeats {
            let _ = answer.send(Ok(answers[first].0.as_repeated()));
        }
        for (appended, answer) in answers {
            let _ = answer.send(Ok(appended));
        }
    }

    /// Begins a new epoch, if the record with this id is missing from its position.
    fn renew(&mut self, seen: Epoch, position: Position, id: EventId) -> Result<LogState, Error> {
        let state = self.log.state();
        if state.epoch != seen || !self.log.has_lost(position, id) {
            return Ok(state);
        }
        let store = self.store.as_ref().ok_or(DiskError::Reopening)?;
        let begun = LogState::begin();
        if let Err(error) = store.begin(&begun, self.sync == SyncMode::Always) {
            self.fail(&error);
            return Err(error.into());
        }
        self.log.begin(&begun);
        self.changed.clear();
        self.forgotten.clear();
        Ok(self.log.state())
    }

    fn revoke(&mut self, revocation: &Revocation, most: usize) -> Result<(), Error> {
        let store = self.store.as_ref().ok_or(DiskError::Reopening)?;
        match revoked::store(store, &self.revoked, revocation, most) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::TooManyRevocations { most }),
            Err(error) => {
                self.fail(&error);
                Err(error.into())
            }
        }
    }

    /// Writes a change that changes nothing.
    fn probe(&mut self) -> Result<(), Error> {
        let store = self.store.as_ref().ok_or(DiskError::Reopening)?;
        let sync = self.sync == SyncMode::Always;
        if let Err(error) = empty_change(store, self.start).commit(sync) {
            self.fail(&error);
            return Err(error.into());
        }
        if !sync {
            self.unsynced.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// Drops old records and keys.
    fn sweep(&mut self) {
        self.log.reserve(0, 0, |user| {
            self.changed.insert(user.to_owned());
        });
        self.forgotten.extend(self.log.forget_keys(0, tokio::time::Instant::now()));
        if let Err(error) = self.write(&[]) {
            self.fail(&error);
        }
    }

    fn sync_if_due(&mut self) {
        let SyncMode::Every(interval) = self.sync else { return };
        let (Some(since), Some(store)) = (self.unsynced, &self.store) else { return };
        if since.elapsed() < interval {
            return;
        }
        self.unsynced = None;
        if let Err(error) = store.sync() {
            self.fail(&error);
        }
    }

    /// Keeps the files within their bound: drops old journals and records when there are enough of
    /// them, and waits while tables are behind.
    fn bound_files(&mut self) {
        while let Some(store) = &self.store {
            match store.keep_up().and_then(|kept_up| store.drop_old(self.start).map(|()| kept_up)) {
                Ok(false) if !self.status.closed.load(Ordering::Acquire) => std::thread::sleep(PAUSE),
                Ok(_) => return,
                Err(error) => self.fail(&error),
            }
            self.sync_if_due();
        }
    }

    /// Gives the store up, until it can be opened again.
    fn fail(&mut self, error: &DiskError) {
        if self.store.take().is_some() {
            let directory = self.directory.display();
            tracing::error!(%error, %directory, "writing the log failed; reopening the store");
            self.status.failed.store(true, Ordering::Release);
        }
    }

    /// Opens the store again after a failed change, and answers its appends: whether the change is
    /// in the store is not known before.
    fn resolve_failed_write(&mut self, group: Group, error: &DiskError) {
        self.fail(error);
        let refused = |answer: oneshot::Sender<AppendResult>, text: String| {
            let _ = answer.send(Err(AppendError::Refused(text.into())));
        };
        let Some(last) = group.planned.last() else { return self.publish(group) };
        let (position, id) = (last.position, last.kept.id);
        let mut retry = MIN_RETRY;
        while self.store.is_none() && !self.status.closed.load(Ordering::Acquire) {
            std::thread::sleep(retry);
            retry = (retry * 2).min(MAX_RETRY);
            let reopened = Store::reopen(&self.directory, self.table_bytes)
                .and_then(|store| Ok((store.records().has(position, id)?, store)));
            match reopened {
                Ok((found, store)) => {
                    self.store = Some(store);
                    if found {
                        self.publish(group);
                    } else {
                        let answers = group.planned.into_iter().map(|planned| planned.answer);
                        let repeats = group.repeats.into_iter().map(|(_, answer)| answer);
                        answers.chain(repeats).for_each(|answer| refused(answer, error.to_string()));
                    }
                    return self.recovered();
                }
                Err(error) => tracing::warn!(%error, "reopening the store failed; retrying"),
            }
        }
    }

    /// Opens the store again; refuses all requests meanwhile.
    fn reopen(&mut self, requests: &Receiver<Request>) {
        let mut retry = MIN_RETRY;
        while !self.status.closed.load(Ordering::Acquire) {
            match Store::reopen(&self.directory, self.table_bytes) {
                Ok(store) => {
                    self.store = Some(store);
                    return self.recovered();
                }
                Err(error) => tracing::warn!(%error, "reopening the store failed; retrying"),
            }
            let until = Instant::now() + retry;
            while let Ok(request) = requests.recv_timeout(until.saturating_duration_since(Instant::now())) {
                match request {
                    Request::Append(appends) => {
                        self.status.waiting.fetch_sub(appends.len(), Ordering::Relaxed);
                        refuse(appends, &DiskError::Reopening);
                    }
                    Request::Probe(answer) => drop(answer.send(Err(DiskError::Reopening.into()))),
                    Request::Renew(renewal) => drop(renewal.answer.send(Err(DiskError::Reopening.into()))),
                    Request::Revoke(revoke) => drop(revoke.answer.send(Err(DiskError::Reopening.into()))),
                }
            }
            retry = (retry * 2).min(MAX_RETRY);
        }
    }

    /// Writes the records that the store may have lost with the failure, and accepts appends again.
    fn recovered(&mut self) {
        let Some(store) = &self.store else { return };
        let state = self.log.state();
        let restored = store.records().last().and_then(|last| {
            // Shows that the store can be written, if no record is missing.
            let mut change = store.change();
            self.set_start(&mut change, state.start);
            for entry in self.log.range(last.max(state.start), usize::MAX) {
                change.append(state.epoch, entry.position, entry.id, &entry.record, None);
            }
            change.commit(true)
        });
        match restored {
            Ok(()) => {
                self.start = state.start;
                self.changed.clear();
                self.status.failed.store(false, Ordering::Release);
                tracing::info!(directory = %self.directory.display(), "the log can be written again");
            }
            Err(error) => self.fail(&error),
        }
    }

    fn close(mut self) {
        self.sweep();
        let Some(store) = self.store.take() else { return };
        if let Err(error) = store.close() {
            tracing::warn!(%error, directory = %self.directory.display(), "the log was not closed cleanly");
        }
    }
}

/// Creates a change that is written, and changes nothing.
fn empty_change(store: &Store, start: Position) -> Change<'_> {
    let mut change = store.change();
    change.set_start(start);
    change
}
