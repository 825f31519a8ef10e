//! The tail loop's work: each record, decoded once, to the providers that it is for.

use std::sync::Arc;
use tokio::time::Instant;

use crate::log::backplane::Entry;
use crate::log::envelope::{Body, Envelope};
use crate::log::feed::{Feed, Record};
use crate::log::handle::Shared;
use crate::values::cursor::Mark;
use crate::values::receipt::{Delivered, Receipt};

impl Shared {
    /// Applies one record. Only the tail loop calls this, so records are applied one after the other.
    pub(crate) fn apply(&self, entry: Entry, feeds: &[Arc<dyn Feed>]) {
        let Entry { position, id, record } = entry;
        // Who came later reads again what the others have.
        let feeds: Vec<_> = feeds.iter().filter(|feed| feed.applied() < position).collect();
        if feeds.is_empty() {
            return;
        }
        for feed in feeds.iter().filter(|feed| feed.applied().next() < position) {
            tracing::warn!(provider = feed.provider(), %position, "the log has a gap");
            feed.jump(position.previous());
        }
        let (seen, mark) = (Instant::now(), Mark::of(id));
        let envelope = match Envelope::decode(&record) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(%position, %error, "a record was skipped");
                for feed in feeds {
                    feed.count_skipped();
                    feed.pass(position, mark, seen);
                }
                return;
            }
        };
        let ours = envelope.node == self.life().0;
        let waiter = if ours { self.take_waiter(envelope.id) } else { None };
        let mut receipt = Receipt::new(envelope.id, Some(position), Some(Delivered::default()));
        let ask = waiter.as_ref().and_then(|waiter| waiter.ask.as_ref());
        for feed in &feeds {
            if !envelope.providers.mean(feed.provider()) {
                feed.pass(position, mark, seen);
                continue;
            }
            let body = &envelope.body;
            let part = feed.apply(&Record { position, mark, id: envelope.id, ours, body, ask, seen });
            if envelope.providers.is_one() {
                receipt = part;
            } else {
                receipt.add(feed.provider(), part);
            }
        }
        tracing::debug!(event = %envelope.id, %position, delivered = ?receipt.delivered, "applied");
        let Some(waiter) = waiter else { return };
        if waiter.done.send(receipt).is_err()
            && matches!(envelope.body, Body::Ask { .. })
            && let Some(ask) = &waiter.ask
        {
            // The sender has given up meanwhile: nobody waits for the answers.
            feeds.iter().for_each(|feed| feed.end_ask(position, ask));
        }
    }
}
