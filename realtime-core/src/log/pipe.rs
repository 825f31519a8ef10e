//! The pipe: what other nodes send past the log, at most once.

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use crate::log::backoff::Backoff;
use crate::log::record::Body;
use crate::log::shared::Shared;
use crate::log::stored::Stored;
use crate::values::error::{Error, Result};

/// The longest wait between two attempts to subscribe.
const RETRY: Duration = Duration::from_secs(2);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

impl Shared {
    /// Follows the pipe for good: what ends is subscribed again, and what was published meanwhile is missed.
    pub(crate) async fn follow_pipe(self: Arc<Self>, mut pipe: BoxStream<'static, Stored>) {
        let mut backoff = Backoff::new(RETRY);
        loop {
            while let Some(message) = pipe.next().await {
                backoff.reset();
                self.hear(&message);
            }
            tracing::warn!("the pipe has ended; subscribing again");
            pipe = loop {
                tokio::time::sleep(backoff.delay()).await;
                match self.subscribe().await {
                    Ok(pipe) => break pipe,
                    Err(error) => tracing::debug!(%error, "the pipe is still away"),
                }
            };
        }
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        tokio::time::timeout(ATTEMPT, self.backplane.subscribe())
            .await
            .unwrap_or_else(|_| Err(Error::Backplane("no answer to a subscription".into())))
    }

    /// Delivers one message, unless it is this node's own.
    fn hear(&self, message: &Stored) {
        match message.decode() {
            Ok(record) if record.node == self.life().0 => {}
            Ok(record) => {
                let Body::Event { target, event, widen } = &record.body else {
                    tracing::debug!("a record that belongs into the log came through the pipe");
                    return;
                };
                for feed in self.feeds().iter().filter(|feed| record.providers.mean(feed.provider())) {
                    feed.hear(target, event, *widen);
                }
            }
            Err(error) => {
                self.feeds().iter().for_each(|feed| feed.count_skipped());
                tracing::debug!(%error, "a message was skipped");
            }
        }
    }
}
