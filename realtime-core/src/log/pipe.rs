//! The pipe: events of other nodes that skip the log, delivered at most once.

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;

use crate::log::backoff::Backoff;
use crate::log::feed::Feed;
use crate::log::record::{Body, Record};
use crate::log::report::Received;
use crate::log::shared::Shared;
use crate::log::stored::Stored;
use crate::values::error::{Error, Result};
use crate::values::receipt::Delivered;

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
                backoff.wait().await;
                match self.subscribe().await {
                    Ok(pipe) => break pipe,
                    Err(error) => tracing::debug!(%error, "the pipe is still unavailable"),
                }
            };
        }
    }

    pub(super) async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        tokio::time::timeout(ATTEMPT, self.backplane.subscribe(self.node.id))
            .await
            .unwrap_or_else(|_| Err(Error::Backplane("the subscription was not answered in time".into())))
    }

    /// Delivers one message, unless this node published it.
    fn deliver_message(self: &Arc<Self>, message: &Stored) {
        match message.decode() {
            Ok(record) if record.node == self.node.id => {}
            Ok(record) => self.deliver_record(&record),
            Err(error) => {
                self.feeds().iter().for_each(|feed| feed.count_skipped());
                tracing::debug!(%error, "a message was skipped");
            }
        }
    }

    fn deliver_record(self: &Arc<Self>, record: &Record) {
        match &record.body {
            Body::Event { target, event, widen } => {
                let feeds = self.feeds();
                let meant =
                    |feed: &&Arc<dyn Feed>| record.providers.contains(feed.provider()) && feed.carries(event, false);
                let span = self.deliver_span(record.id, None, event);
                let _within = span.enter();
                let mut delivered = Delivered::default();
                for feed in feeds.iter().filter(meant) {
                    delivered.add(feed.deliver_volatile(target, event, *widen));
                }
                delivered.record_in(&span);
            }
            Body::Report(report) => {
                let (shared, node) = (Arc::clone(self), record.node);
                let received = Received { record: report.record, items: self.receive(node, report) };
                tokio::spawn(async move { shared.publish_to(node, Body::Received(received)).await });
            }
            Body::Received(received) => self.received(*received),
            Body::Refresh(ask) => self.answer_refresh(ask, record.node),
            Body::Refreshed { request, outcome } => self.refreshed(*request, outcome),
            Body::Explain(ask) => self.answer_explain(ask, record.node),
            Body::Explained(answer) => self.explained(record.node, answer),
            Body::Probe { member } => self.feeds().iter().for_each(|feed| feed.probe(member)),
            Body::Taken(taken) => self.note_taken(record.node, taken),
            Body::Absent { .. }
            | Body::Ask { .. }
            | Body::Check { .. }
            | Body::Close { .. }
            | Body::Decided(_)
            | Body::Join { .. }
            | Body::Leave { .. }
            | Body::Present { .. }
            | Body::Revoke(_) => tracing::debug!("the pipe delivered a record that belongs in the log"),
        }
    }
}
