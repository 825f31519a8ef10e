use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::spi::{
    AppendError, Appended, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Stored, Tail,
};
use realtime_core::{Error, EventId, MemoryBackplane, Result};
use tokio::sync::watch;

/// What goes wrong with every append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFault {
    /// The record is not taken, and there is no answer.
    Mute,
    /// The record is taken, and there is no answer.
    MuteThoughTaken,
    /// The record is not taken, and the outcome is said to be open.
    Open,
    /// The record is taken, and after 50 ms its outcome is said to be open.
    OpenThoughTaken,
    /// The record is taken, and after 50 ms refused as if it had not been.
    RefusedThoughTaken,
}

/// A memory backplane that can be taken away, exchanged for another one, and robbed of records behind its nodes' backs. As a
/// broker does, it answers no append at once, and gives records back as bytes.
///
/// Clones are the same backplane: give one to every node of a test.
#[derive(Clone, Debug)]
pub struct FaultyBackplane {
    inner: Arc<Mutex<Inner>>,
    /// Tails give nothing while this is false, and fail when it is turned off.
    up: watch::Sender<bool>,
    /// Tails give nothing while this is true.
    silent: watch::Sender<bool>,
    /// Subscriptions to the pipe end when this is turned off, and are refused while it is.
    pipe_up: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    log: MemoryBackplane,
    /// What is published goes here, whatever happens to the log.
    pipe: MemoryBackplane,
    fault: Option<AppendFault>,
}

impl FaultyBackplane {
    /// Has no faults yet.
    pub fn new(log: MemoryBackplane) -> Self {
        let inner = Inner { pipe: log.clone(), log, fault: None };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            up: watch::Sender::new(true),
            silent: watch::Sender::new(false),
            pipe_up: watch::Sender::new(true),
        }
    }

    /// The log of now.
    pub fn log(&self) -> MemoryBackplane {
        self.inner().log.clone()
    }

    /// Puts another log in the place of this one, with an epoch of its own. Tails go on with the old one until they fail.
    pub fn exchange(&self, log: MemoryBackplane) {
        let mut inner = self.inner();
        inner.pipe = log.clone();
        inner.log = log;
    }

    /// Takes the log away and gives it back. While it is away appends are refused, all else but [`Backplane::state`] fails,
    /// and tails fail, but one that is begun then waits.
    pub fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// Lets tails give nothing, without a failure, and go on where they were; all else works.
    pub fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Ends all subscriptions to the pipe and refuses new ones, or takes them again; publishing works all the time.
    pub fn set_pipe_up(&self, up: bool) {
        self.pipe_up.send_replace(up);
    }

    /// Lets every append from now on go wrong in this way.
    pub fn set_fault(&self, fault: Option<AppendFault>) {
        self.inner().fault = fault;
    }

    /// Drops the records after this place, as a restored backup does: epoch and key are what they were, and tails are told
    /// nothing.
    ///
    /// # Panics
    /// When the log does not reach back to its beginning.
    pub async fn roll_back(&self, last: Position) {
        let shorter = self.log().copy_up_to(last);
        let start = shorter.state().await.expect("a log in memory has a state").start;
        assert_eq!(start, Position::START, "the log has dropped its beginning");
        self.inner().log = shorter;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if *self.up.borrow() { Ok(()) } else { Err("it is away") }
    }
}

#[async_trait]
impl Backplane for FaultyBackplane {
    async fn append(
        &self,
        epoch: Epoch,
        record: Arc<Record>,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError> {
        self.check().map_err(|away| AppendError::Refused(away.into()))?;
        let fault = self.inner().fault;
        let broken = || AppendError::Unknown("the connection broke".into());
        match fault {
            Some(AppendFault::Open) => return Err(broken()),
            Some(AppendFault::Mute) => std::future::pending::<()>().await,
            _ => {}
        }
        let appended = self.log().append(epoch, record, key).await?;
        let Some(fault) = fault else { return Ok(appended) };
        if fault == AppendFault::MuteThoughTaken {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Err(match fault {
            AppendFault::RefusedThoughTaken => AppendError::Refused("a wrong word".into()),
            _ => broken(),
        })
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.check().map_err(|away| Error::Backplane(away.into()))?;
        Ok(self.log().range(after, most).await?.into_iter().map(as_bytes).collect())
    }

    fn tail(&self, after: Position) -> Tail {
        let tail = self.log().tail(after);
        let (up, silent) = (self.up.subscribe(), self.silent.subscribe());
        let begun = *up.borrow();
        stream::unfold((tail, up, silent, begun), |(mut tail, mut up, mut silent, begun)| async move {
            if !begun {
                // Begun while away: it waits, as a broker that is slow to answer.
                wait_for(&mut up, true).await;
            }
            let batch = tokio::select! {
                biased;
                () = wait_for(&mut up, false) => Some(Err(Error::Backplane("it went away".into()))),
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
        self.check().map_err(|away| Error::Backplane(away.into()))?;
        self.log().renew(seen, position, id).await
    }

    async fn publish(&self, record: Arc<Record>) -> Result<()> {
        self.check().map_err(|away| Error::Backplane(away.into()))?;
        let pipe = self.inner().pipe.clone();
        pipe.publish(record).await
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        let mut up = self.pipe_up.subscribe();
        if !*up.borrow() {
            return Err(Error::Backplane("the pipe is away".into()));
        }
        let pipe = self.inner().pipe.clone();
        let messages = pipe.subscribe().await?;
        let messages = messages.map(|message| Stored::Bytes(message.bytes().clone()));
        Ok(messages.take_until(async move { wait_for(&mut up, false).await }).boxed())
    }
}

fn as_bytes(mut entry: Entry) -> Entry {
    entry.record = Stored::Bytes(entry.record.bytes().clone());
    entry
}

async fn wait_for(switch: &mut watch::Receiver<bool>, wanted: bool) {
    // The sender lives as long as the backplane; after that there is nothing to wait for.
    if switch.wait_for(|is| *is == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
