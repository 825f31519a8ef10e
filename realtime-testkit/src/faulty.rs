use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::spi::{
    AppendError, AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Revocation, RoomTable,
    Stored, Tail,
};
use realtime_core::{Error, EventId, MemoryBackplane, NodeId, Result};
use tokio::sync::watch;

/// A fault of every append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendFault {
    /// The record is not appended, and there is no answer.
    NoReply,
    /// The record is appended, and there is no answer.
    AppliedNoReply,
    /// The record is not appended, and the answer is [`AppendError::Unknown`].
    Open,
    /// The record is appended, and after 50 ms the answer is [`AppendError::Unknown`].
    OpenThoughTaken,
    /// The record is not appended, and the answer is [`AppendError::Refused`]; probes fail too.
    Refused,
    /// The record is appended, and after 50 ms the answer is [`AppendError::Refused`].
    RefusedThoughTaken,
}

/// A backplane in memory that can be made unavailable, exchanged for another one, and rolled back
/// without notice to its nodes. As a broker does, it has no [`Backplane::append_now`], and returns
/// records as bytes.
///
/// Clones are the same backplane: give one to every node of a test.
#[derive(Clone, Debug)]
pub struct FaultyBackplane {
    inner: Arc<Mutex<Inner>>,
    /// `true` while the log is available; tails fail when it becomes `false`.
    up: watch::Sender<bool>,
    /// `true` while tails return no records.
    silent: watch::Sender<bool>,
    /// `true` while the pipe accepts subscriptions; they end when it becomes `false`.
    pipe_up: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    log: MemoryBackplane,
    /// The pipe, which works whatever happens to the log.
    pipe: MemoryBackplane,
    fault: Option<AppendFault>,
}

impl FaultyBackplane {
    /// Creates a backplane on this log, without faults yet.
    #[must_use]
    pub fn new(log: MemoryBackplane) -> Self {
        let inner = Inner { pipe: log.clone(), log, fault: None };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            up: watch::Sender::new(true),
            silent: watch::Sender::new(false),
            pipe_up: watch::Sender::new(true),
        }
    }

    /// Returns the current log.
    #[must_use]
    pub fn log(&self) -> MemoryBackplane {
        self.inner().log.clone()
    }

    /// Replaces the log by another one, with an epoch of its own. Tails continue with the previous
    /// log until they fail.
    pub fn exchange(&self, log: MemoryBackplane) {
        let mut inner = self.inner();
        inner.pipe = log.clone();
        inner.log = log;
    }

    /// Makes the log available or unavailable. While it is unavailable, appends are refused,
    /// everything else but [`Backplane::state`] fails, open tails fail, and a new tail waits.
    pub fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Makes tails return no records, without a failure, or continue where they were; everything
    /// else works.
    pub fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Ends all subscriptions to the pipe and refuses new ones, or accepts them again; publishing
    /// always works.
    pub fn set_pipe_up(&self, up: bool) {
        self.pipe_up.send_replace(up);
    }

    /// Sets the fault of every later append; `None` removes it.
    pub fn set_fault(&self, fault: Option<AppendFault>) {
        self.inner().fault = fault;
    }

    /// Drops the records after this position, as a restored backup does: epoch and key are
    /// unchanged, and tails get no notice.
    ///
    /// # Panics
    /// If the log does not reach back to its beginning.
    pub async fn roll_back(&self, last: Position) {
        let shorter = self.log().copy_up_to(last);
        let start = shorter.state().await.expect("a log in memory has a state").start;
        assert_eq!(start, Position::START, "expected a log that has all its records");
        self.inner().log = shorter;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if *self.up.borrow() { Ok(()) } else { Err("the log is unavailable") }
    }
}

#[async_trait]
impl Backplane for FaultyBackplane {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        self.check().map_err(|unavailable| AppendError::Refused(unavailable.into()))?;
        let fault = self.inner().fault;
        let broken = || AppendError::Unknown("the connection broke".into());
        match fault {
            Some(AppendFault::Open) => return Err(broken()),
            Some(AppendFault::Refused) => return Err(AppendError::Refused("the log cannot be written".into())),
            Some(AppendFault::NoReply) => std::future::pending::<()>().await,
            _ => {}
        }
        let appended = self.log().append(epoch, record, key).await?;
        let Some(fault) = fault else { return Ok(appended) };
        if fault == AppendFault::AppliedNoReply {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Err(match fault {
            AppendFault::RefusedThoughTaken => AppendError::Refused("refused though appended".into()),
            _ => broken(),
        })
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))?;
        Ok(self.log().range(after, most).await?.into_iter().map(as_bytes).collect())
    }

    fn tail(&self, after: Position) -> Tail {
        let tail = self.log().tail(after);
        let (up, silent) = (self.up.subscribe(), self.silent.subscribe());
        let begun = *up.borrow();
        stream::unfold((tail, up, silent, begun), |(mut tail, mut up, mut silent, begun)| async move {
            if !begun {
                // Opened while the log is unavailable: wait, as a broker that is slow to answer.
                wait_for(&mut up, true).await;
            }
            let batch = tokio::select! {
                biased;
                () = wait_for(&mut up, false) => Some(Err(Error::Backplane("the log became unavailable".into()))),
                batch = async {
                    let batch = tail.next().await.map(|batch| batch.map(|batch| batch.into_iter().map(as_bytes).collect()));
                    wait_for(&mut silent, false).await;
                    batch
                } => batch,
            };
            batch.map(|batch| (batch, (tail, up, silent, true)))
        })
        .boxed()
    }

    async fn state(&self) -> Result<LogState> {
        self.log().state().await
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))?;
        self.log().renew(seen, position, id).await
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        self.log().rooms(at).await
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))?;
        self.log().revoke(revocation, most).await
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))?;
        self.log().revoked().await
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))?;
        let pipe = self.inner().pipe.clone();
        pipe.publish(record, to).await
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        let mut up = self.pipe_up.subscribe();
        if !*up.borrow() {
            return Err(Error::Backplane("the pipe is unavailable".into()));
        }
        let pipe = self.inner().pipe.clone();
        let messages = pipe.subscribe(node).await?;
        let messages = messages.map(|message| Stored::Bytes(message.bytes().clone()));
        Ok(messages.take_until(async move { wait_for(&mut up, false).await }).boxed())
    }

    async fn probe(&self) -> Result<()> {
        if self.inner().fault == Some(AppendFault::Refused) {
            return Err(Error::Backplane("the log cannot be written".into()));
        }
        self.check().map_err(|unavailable| Error::Backplane(unavailable.into()))
    }
}

fn as_bytes(mut entry: Entry) -> Entry {
    entry.record = Stored::Bytes(entry.record.bytes().clone());
    entry
}

async fn wait_for(switch: &mut watch::Receiver<bool>, wanted: bool) {
    // The sender lives as long as the backplane; without it the switch never changes again.
    if switch.wait_for(|is| *is == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
