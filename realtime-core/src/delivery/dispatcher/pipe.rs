//! The pipe: what other nodes send past the log, at most once.

use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use super::backoff::Backoff;
use crate::delivery::dispatcher::Dispatcher;
use crate::log::directory::NodeId;
use crate::log::envelope::{Body, Envelope};
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::error::{Error, Result};
use crate::values::stats::add;

/// The longest wait between two attempts to subscribe.
const RETRY: Duration = Duration::from_secs(2);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

impl<C: Codec> Dispatcher<C> {
    /// Follows the pipe for good: what ends is subscribed again, and what was published meanwhile is missed.
    pub(super) async fn follow_pipe(&self, mut pipe: BoxStream<'static, Bytes>) {
        let Ok(runtime) = self.runtime() else { return };
        let provider = self.config.provider;
        let mut backoff = Backoff::new(RETRY);
        loop {
            while let Some(message) = pipe.next().await {
                backoff.reset();
                self.hear(&message, runtime.node);
            }
            tracing::warn!(provider, "the pipe has ended; subscribing again");
            pipe = loop {
                tokio::time::sleep(backoff.delay()).await;
                match self.subscribe(runtime).await {
                    Ok(pipe) => break pipe,
                    Err(error) => tracing::debug!(provider, %error, "the pipe is still away"),
                }
            };
        }
    }

    async fn subscribe(&self, runtime: &Runtime) -> Result<BoxStream<'static, Bytes>> {
        let attempt = runtime.backplane.subscribe(self.config.provider);
        tokio::time::timeout(ATTEMPT, attempt)
            .await
            .unwrap_or_else(|_| Err(Error::Backplane("no answer to a subscription".into())))
    }

    /// Delivers one message, unless it is this node's own.
    fn hear(&self, message: &Bytes, node: NodeId) {
        match Envelope::decode(message) {
            Ok(envelope) if envelope.node == node => {}
            Ok(Envelope { body: Body::Event { target, event }, .. }) => {
                self.deliver_now(&target, &event);
            }
            Ok(_) => tracing::debug!("a record that belongs into the log came through the pipe"),
            Err(error) => {
                add(&self.counters.skipped_records, 1);
                tracing::debug!(%error, "a message was skipped");
            }
        }
    }
}
