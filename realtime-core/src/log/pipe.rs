//! The pipe: events of other nodes that skip the log, delivered at most once.

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use crate::log::backoff::Backoff;
use crate::log::record::Body;
use crate::log::shared::Shared;
use crate::log::stored::Stored;
use crate::values::error::{Error, Result};

/// The longest delay between two attempts to subscribe.
const RETRY: Duration = Duration::from_secs(2);
/// The longest time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

impl Shared {
    /// Follows the pipe until the future is dropped: subscribes again when it closes; messages that
    /// were published meanwhile are missed.
    pub(crate) async fn follow_pipe(self: Arc<Self>, mut pipe: BoxStream<'static, Stored>) {
        let mut backoff = Backoff::new(RETRY);
        loop {
            while let Some(message) = pipe.next().await {
                backoff.reset();
                self.deliver_message(&message);
            }
            tracing::warn!("the pipe has closed; subscribing again");
            pipe = loop {
                tokio::time::sleep(backoff.delay()).await;
                match self.subscribe().await {
                    Ok(pipe) => break pipe,
                    Err(error) => tracing::debug!(%error, "the pipe is still unavailable"),
                }
            };
        }
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        tokio::time::timeout(ATTEMPT, self.backplane.subscribe())
            .await
            .unwrap_or_else(|_| Err(Error::Backplane("the subscription was not answered in time".into())))
    }

    /// Delivers one message, unless this node published it.
    fn deliver_message(&self, message: &Stored) {
        match message.decode() {
            Ok(record) if record.node == self.node_and_epoch().0 => {}
            Ok(record) => {
                let Body::Event { target, event, widen } = &record.body else {
                    tracing::debug!("the pipe delivered a record that belongs in the log");
                    return;
                };
                for feed in self.feeds().iter().filter(|feed| record.providers.contains(feed.provider())) {
                    feed.deliver_volatile(target, event, *widen);
                }
            }
            Err(error) => {
                self.feeds().iter().for_each(|feed| feed.count_skipped());
                tracing::debug!(%error, "a message was skipped");
            }
        }
    }
}
