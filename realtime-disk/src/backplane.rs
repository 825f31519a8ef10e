use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use realtime_core::spi::{
    AppendError, AppendResult, Backplane, Entry, Epoch, Kept, LocalPipe, LogState, MemoryLog, Position, Record,
    RepeatKey, Revocation, RevocationTable, RoomTable, Stored, Tail,
};
use realtime_core::{EventId, LogSize, NodeId, Result};
use tokio::sync::oneshot;

use crate::config::DiskConfig;
use crate::error::DiskError;
use crate::lock::Lock;
use crate::request::{Append, Renewal, Request, refuse};
use crate::revoked::Revoke;
use crate::store::{Content, Store};
use crate::writer::{Status, Writer};

/// The most appends that wait for the disk; further ones are rejected.
const MOST_WAITING: usize = 10_000;
/// The most requests that wait for the thread, each with the appends of a moment.
const MOST_REQUESTS: usize = 1_000;

/// The log of one node, in files of a directory: records, idempotency keys, users' rooms and
/// cursors outlive the process. Cheap to clone; all clones are one log.
///
/// An append that was acknowledged survives the end of the process, however it ends; see
/// [`SyncMode`](crate::SyncMode) for a loss of power. After one the log begins a new epoch, unless
/// it syncs always, so that no client resumes from a record that is gone.
///
/// All records that the log keeps are in memory too, so that reads need no disk. After a failed
/// write (a full disk) the store is opened again until it can be written: appends are rejected
/// meanwhile, and nothing that was acknowledged is lost. Dropping the last clone closes the store,
/// which blocks until it is synced.
#[derive(Clone, Debug)]
pub struct DiskBackplane(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    log: MemoryLog,
    pipe: LocalPipe,
    status: Arc<Status>,
    revoked: Arc<RevocationTable>,
    requests: Option<SyncSender<Request>>,
    /// The appends that go to the thread together: the task that adds the first one sends them.
    appends: Mutex<Vec<Append>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskBackplane {
    /// Opens the log in a directory, which is created if it is missing, with
    /// [`DiskConfig::default`].
    ///
    /// # Errors
    /// Those of [`DiskBackplane::open_with`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(directory, DiskConfig::default())
    }

    /// Opens the log in a directory, which is created if it is missing. Blocks while it is read,
    /// and for [`DiskConfig::with_lock_wait`] while another process has it.
    ///
    /// # Errors
    /// [`realtime_core::Error::Config`] when another process has the directory, when another build
    /// wrote it, or when it is damaged; [`realtime_core::Error::Backplane`] when it cannot be read
    /// or written.
    pub fn open_with(directory: impl AsRef<Path>, config: DiskConfig) -> Result<Self> {
        config.check()?;
        let directory = directory.as_ref();
        std::fs::create_dir_all(directory).map_err(DiskError::io(directory))?;
        let lock = Lock::acquire(directory, config.lock_wait)?;
        let (store, mut content) = Store::open(directory, &config)?;
        if let Some(reason) = content.renewed {
            tracing::warn!(reason, directory = %directory.display(), "the log begins a new epoch");
        }
        let start = content.state.start;
        let revoked = Arc::new(std::mem::take(&mut content.revoked));
        let log = restore(&config, content);
        let status = Arc::new(Status::default());
        let writer = Writer {
            directory: directory.to_owned(),
            sync: config.sync,
            table_bytes: config.table_bytes,
            log: log.clone(),
            status: Arc::clone(&status),
            store: Some(store),
            start,
            changed: BTreeSet::new(),
            forgotten: Vec::new(),
            unsynced: None,
            revoked: Arc::clone(&revoked),
            _lock: lock,
        };
        let (requests, received) = sync_channel(MOST_REQUESTS);
        let thread = std::thread::Builder::new()
            .name("realtime-disk".to_owned())
            .spawn(move || writer.run(&received))
            .map_err(DiskError::io(directory))?;
        let pipe = LocalPipe::default();
        Ok(Self(Arc::new(Handle {
            log,
            pipe,
            status,
            revoked,
            requests: Some(requests),
            appends: Mutex::default(),
            thread: Some(thread),
        })))
    }

    fn check(&self) -> Result<(), DiskError> {
        if self.0.status.failed.load(Ordering::Acquire) { Err(DiskError::Reopening) } else { Ok(()) }
    }
}

impl Handle {
    /// Adds an append to those that go to the thread; returns whether it is the first of them.
    fn queue(&self, append: Append) -> Result<bool, DiskError> {
        if self.status.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.status.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(DiskError::Overloaded);
        }
        let mut appends = self.appends();
        appends.push(append);
        Ok(appends.len() == 1)
    }

    fn appends(&self) -> MutexGuard<'_, Vec<Append>> {
        self.appends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a request to the thread, or returns it with the reason.
    fn request(&self, request: Request) -> Result<(), (DiskError, Request)> {
        let Some(requests) = &self.requests else { return Err((DiskError::Closed, request)) };
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => (DiskError::Overloaded, request),
            TrySendError::Disconnected(request) => (DiskError::Closed, request),
        })
    }
}

/// Puts the content of a store into memory.
fn restore(config: &DiskConfig, content: Content) -> MemoryLog {
    let log = MemoryLog::new(config.bounds, &content.state, content.rooms);
    let (now, clock) = (tokio::time::Instant::now(), SystemTime::now());
    for record in content.records {
        let age = clock.duration_since(record.at).unwrap_or_default();
        let size = record.record.decode().map_or_else(|_| record.record.bytes().len(), |record| record.size());
        log.push(Kept::new(record.id, record.record, size, now.checked_sub(age).unwrap_or(now)), None);
    }
    for (key, position, id) in content.keys {
        log.restore_key(&key, position, id);
    }
    log
}

#[async_trait]
impl Backplane for DiskBackplane {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        self.check().map_err(|error| AppendError::Refused(error.into()))?;
        let (answer, answered) = oneshot::channel();
        let is_first =
            self.0.queue(Append { epoch, record, key, answer }).map_err(|error| AppendError::Refused(error.into()))?;
        if is_first {
            let _send = SendOnDrop(&self.0);
            // The tasks that are ready append meanwhile: one change for all of them, and one wake
            // of the thread.
            tokio::task::yield_now().await;
        }
        answered.await.unwrap_or_else(|_| Err(AppendError::Unknown(DiskError::Closed.into())))
    }

    fn tails(&self) -> usize {
        self.0.log.tails()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        Ok(self.0.log.range(after, most))
    }

    fn tail(&self, after: Position) -> Tail {
        self.0.log.tail(after)
    }

    async fn state(&self) -> Result<LogState> {
        Ok(self.0.log.state())
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        self.check()?;
        let state = self.0.log.state();
        if state.epoch != seen || !self.0.log.has_lost(position, id) {
            return Ok(state);
        }
        let (answer, answered) = oneshot::channel();
        self.0.request(Request::Renew(Renewal { seen, position, id, answer })).map_err(|(error, _)| error)?;
        answered.await.unwrap_or_else(|_| Err(DiskError::Closed.into()))
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        Ok(self.0.log.rooms(at))
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.check()?;
        let (answer, answered) = oneshot::channel();
        let request = Request::Revoke(Revoke { revocation: revocation.clone(), most, answer });
        self.0.request(request).map_err(|(error, _)| error)?;
        answered.await.unwrap_or_else(|_| Err(DiskError::Closed.into()))
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        Ok(self.0.revoked.all())
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.0.pipe.publish(record, to);
        Ok(())
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        Ok(self.0.pipe.subscribe(node))
    }

    async fn probe(&self) -> Result<()> {
        self.check()?;
        let (answer, answered) = oneshot::channel();
        self.0.request(Request::Probe(answer)).map_err(|(error, _)| error)?;
        answered.await.unwrap_or_else(|_| Err(DiskError::Closed.into()))
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        Ok(Some(self.0.log.size()))
    }
}

/// Sends the appends that were added to the thread, also when the append that does it is dropped.
struct SendOnDrop<'a>(&'a Handle);

impl Drop for SendOnDrop<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.appends();
        // Most often as many come the next time.
        let next = Vec::with_capacity(waiting.len());
        let appends = std::mem::replace(&mut *waiting, next);
        drop(waiting);
        if let Err((error, Request::Append(appends))) = self.0.request(Request::Append(appends)) {
            self.0.status.waiting.fetch_sub(appends.len(), Ordering::Relaxed);
            refuse(appends, &error);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.status.closed.store(true, Ordering::Release);
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the log panicked");
        }
    }
}
