//! Reporting to the creator of a record what it did on this node. The pipe may lose a message: each
//! report is repeated until it was received.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::log::record::{Body, Providers, Record};
use crate::log::report::{Item, Received, Report, Settled};
use crate::log::shared::Shared;
use crate::values::ack::{AckReply, Acks, Ask};
use crate::values::event_id::EventId;
use crate::values::node::NodeId;

/// The time after which a report that was not received is repeated.
const REPEAT: Duration = Duration::from_secs(1);
/// The time without an answer after which the creator of the record counts as gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most items of one message.
const MOST_ITEMS: usize = 500;
/// The most bytes of payloads in one message; a larger payload has one alone.
const MOST_BYTES: usize = 256 * 1024;
/// The most connections that are named as not settled; of those beyond it only the outcome is
/// reported.
const MOST_NAMED: usize = 10_000;

/// The report of this node about one record.
struct Reporter {
    shared: Arc<Shared>,
    to: NodeId,
    record: EventId,
    /// The items that were not received, and the number of the first of them.
    items: VecDeque<Item>,
    first: u64,
    /// The number of `items` that were sent.
    sent: usize,
}

impl Shared {
    /// Reports the connections that an ask of another node has matched here, and their outcomes.
    pub(super) fn report_ask(self: &Arc<Self>, record: &Record, ask: &Arc<Ask>, acks: Acks) {
        let expected = ask.waiting(MOST_NAMED).into_iter();
        let items = expected.map(|(connection, provider)| Item::Expected { connection, provider: provider.into() });
        self.report(record, items.collect(), Some(acks));
    }

    /// Reports the number of connections that a close of another node has closed here.
    pub(super) fn report_closed(self: &Arc<Self>, record: &Record, closed: usize) {
        self.report(record, [Item::Closed(closed as u64)].into(), None);
    }

    fn report(self: &Arc<Self>, record: &Record, mut items: VecDeque<Item>, acks: Option<Acks>) {
        let Some(stop) = self.state().running.clone() else { return };
        if acks.is_none() {
            items.push_back(Item::End);
        }
        let (sender, received) = watch::channel(Received { record: record.id, items: Some(0) });
        self.reporters().insert(record.id, sender);
        let (to, record) = (record.node, record.id);
        let reporter = Reporter { shared: Arc::clone(self), to, record, items, first: 0, sent: 0 };
        tokio::spawn(async move {
            let _registered = Registered { shared: Arc::clone(&reporter.shared), record };
            stop.run_until_cancelled_owned(reporter.run(acks, received)).await
        });
    }

    /// Passes an answer to the reporter that waits for it.
    pub(super) fn received(&self, received: Received) {
        if let Some(reporter) = self.reporters().get(&received.record) {
            reporter.send_replace(received);
        }
    }

    fn reporters(&self) -> MutexGuard<'_, HashMap<EventId, watch::Sender<Received>>> {
        self.reporters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the reporter from the table when its task ends.
struct Registered {
    shared: Arc<Shared>,
    record: EventId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.reporters().remove(&self.record);
    }
}

impl Reporter {
    /// Sends items as they are known, until all were received or the creator is gone.
    async fn run(mut self, mut acks: Option<Acks>, mut received: watch::Receiver<Received>) {
        let mut heard = Instant::now();
        let mut repeat_at = heard;
        loop {
            while self.sent < self.items.len() {
                self.send().await;
                repeat_at = Instant::now() + REPEAT;
            }
            tokio::select! {
                changed = received.changed() => {
                    let (Ok(()), Some(items)) = (changed, received.borrow_and_update().items) else { return };
                    heard = Instant::now();
                    self.forget_before(items);
                }
                outcome = next(&mut acks), if acks.is_some() => match outcome {
                    Some(reply) => {
                        if self.items.is_empty() {
                            heard = Instant::now();
                        }
                        self.items.push_back(Item::Settled(settled(reply)));
                    }
                    None => {
                        acks = None;
                        self.items.push_back(Item::End);
                    }
                },
                () = sleep_until(repeat_at), if !self.items.is_empty() => {
                    if heard.elapsed() > PATIENCE {
                        return tracing::debug!(record = %self.record, node = %self.to, "no answer to a report");
                    }
                    self.sent = 0;
                }
            }
            if acks.is_none() && self.items.is_empty() {
                return;
            }
        }
    }

    /// Sends the next items that fit into one message.
    async fn send(&mut self) {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            let before = bytes;
            bytes += item_size(item);
            before == 0 || bytes <= MOST_BYTES
        };
        let items: Vec<_> = self.items.iter().skip(self.sent).take(MOST_ITEMS).take_while(fits).cloned().collect();
        let first = self.first + self.sent as u64;
        self.sent += items.len();
        let body = Body::Report(Report { record: self.record, first, items });
        self.shared.publish_to(self.to, body).await;
    }

    /// Removes the items that were received.
    fn forget_before(&mut self, items: u64) {
        let received = usize::try_from(items.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.items.len());
        self.items.drain(..received);
        self.first += received as u64;
        self.sent = self.sent.saturating_sub(received);
    }
}

impl Shared {
    /// Publishes a message for one node; an error is the loss of a message, which the pipe may lose
    /// anyway.
    pub(super) async fn publish_to(&self, node: NodeId, body: Body) {
        let record = Record::new(EventId::random(), self.node.id, Providers::ALL, body);
        if let Err(error) = self.backplane.publish(Arc::new(record), Some(node)).await {
            tracing::debug!(%node, %error, "a message for another node was not published");
        }
    }
}

/// Returns the next outcome; never without an ask.
async fn next(acks: &mut Option<Acks>) -> Option<AckReply> {
    match acks {
        Some(acks) => acks.next().await,
        None => std::future::pending().await,
    }
}

fn settled(reply: AckReply) -> Settled {
    let AckReply { connection, provider, status, elapsed, payload } = reply;
    Settled { connection, provider: provider.into(), status, elapsed, payload }
}

fn item_size(item: &Item) -> usize {
    match item {
        Item::Settled(settled) => {
            settled.payload.bytes().len() + settled.payload.attachments().iter().map(bytes::Bytes::len).sum::<usize>()
        }
        Item::Closed(_) | Item::End | Item::Expected { .. } => 0,
    }
}
