use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::{Backplane, Entry, Error, LogState, MemoryBackplane, Position, Result, Tail};
use tokio::sync::watch;

/// A memory backplane that can be taken away, slowed down and exchanged for another one.
#[derive(Clone)]
pub struct FaultyBackplane {
    log: Arc<Mutex<MemoryBackplane>>,
    /// Tails give nothing while this is false, and fail when it is turned off.
    up: watch::Sender<bool>,
    /// Appends are taken and never answered.
    mute: Arc<AtomicBool>,
}

impl FaultyBackplane {
    pub fn new(log: MemoryBackplane) -> Self {
        Self { log: Arc::new(Mutex::new(log)), up: watch::Sender::new(true), mute: Arc::default() }
    }

    pub fn log(&self) -> MemoryBackplane {
        self.log.lock().unwrap().clone()
    }

    /// Another log in the place of this one.
    pub fn exchange(&self, log: MemoryBackplane) {
        *self.log.lock().unwrap() = log;
    }

    pub fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    pub fn set_mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        if *self.up.borrow() { Ok(()) } else { Err(Error::Backplane("it is away".into())) }
    }
}

#[async_trait]
impl Backplane for FaultyBackplane {
    async fn append(&self, subject: &str, record: Bytes) -> Result<Position> {
        self.check()?;
        if self.mute.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.log().append(subject, record).await
    }

    async fn range(&self, subject: &str, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.check()?;
        self.log().range(subject, after, most).await
    }

    fn tail(&self, subject: &str, after: Position) -> Tail {
        let tail = self.log().tail(subject, after);
        let up = self.up.subscribe();
        let begun = *up.borrow();
        stream::unfold((tail, up, begun), |(mut tail, mut up, begun)| async move {
            if !begun {
                // Begun while away: it waits, as a broker that is slow to answer.
                wait_for(&mut up, true).await;
            }
            let batch = tokio::select! {
                biased;
                () = wait_for(&mut up, false) => Some(Err(Error::Backplane("it went away".into()))),
                batch = tail.next() => batch,
            };
            batch.map(|batch| (batch, (tail, up, true)))
        })
        .boxed()
    }

    async fn state(&self, subject: &str) -> Result<LogState> {
        self.log().state(subject).await
    }

    async fn publish(&self, subject: &str, message: Bytes) -> Result<()> {
        self.check()?;
        self.log().publish(subject, message).await
    }

    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, Bytes>> {
        self.log().subscribe(subject).await
    }
}

async fn wait_for(up: &mut watch::Receiver<bool>, wanted: bool) {
    // The sender lives as long as the backplane; after that there is nothing to wait for.
    if up.wait_for(|up| *up == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}
