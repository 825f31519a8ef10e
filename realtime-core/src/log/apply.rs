//! Applying records, one after the other, each to the providers that it is for: by the tail loop,
//! or by the sender that appended it.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use tracing::Span;

use crate::log::backplane::{AppendError, Appended, Entry};
use crate::log::feed::{Feed, Placed, Wakes};
use crate::log::record::{Body, Record};
use crate::log::repeat::RepeatKey;
use crate::log::shared::{Shared, TailEnd, Tip, Waiting};
use crate::log::stored::RecordError;
use crate::values::ack::{Acks, Ask};
use crate::values::cursor::{Epoch, Mark};
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::stamp::Stamp;

/// The outcome of an append that does not wait.
pub(crate) enum TryAppend {
    /// An append that would have to wait, because the log cannot decide immediately or another task
    /// is applying a record.
    Unavailable,
    /// A rejected append.
    Rejected(AppendError),
    /// A record that is in the log, or that repeats an earlier one.
    Appended(Appended),
    /// A record that is in the log and applied.
    Applied(Receipt),
    /// A record that is in the log, behind records that are not applied yet.
    Waits(Waiting),
}

/// The origin of a record, as far as it is known while the record is applied.
#[derive(Clone, Copy)]
struct Origin<'a> {
    /// `true` if this node created the record.
    ours: bool,
    /// The pending ask that the record belongs to, if there is one.
    ask: Option<&'a Arc<Ask>>,
    /// The moment of its send, or of its arrival here, if it is timed.
    sent: Stamp,
}

impl<'a> Origin<'a> {
    fn here(ask: Option<&'a Arc<Ask>>, sent: Stamp) -> Self {
        Self { ours: true, ask, sent }
    }

    /// Another node's clock says nothing here, so its records are timed from their arrival.
    fn elsewhere(id: EventId, ask: Option<&'a Arc<Ask>>) -> Self {
        Self { ours: false, ask, sent: Stamp::of(id) }
    }
}

impl Shared {
    /// Appends a record, and applies it if all records before it are applied. Never waits, so that
    /// a send from inside an apply gets its turn later.
    pub(crate) fn try_append(
        self: &Arc<Self>,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
        ask: Option<&Arc<Ask>>,
        sent: Stamp,
    ) -> TryAppend {
        let mut wakes = Wakes::default();
        let Some(mut applied) = self.try_lock_applied() else { return TryAppend::Unavailable };
        let appended = match self.backplane.append_now(epoch, record, key) {
            None => return TryAppend::Unavailable,
            Some(Err(error)) => return TryAppend::Rejected(error),
            Some(Ok(appended)) => appended,
        };
        if appended.repeated {
            return TryAppend::Appended(appended);
        }
        let feeds = self.feeds();
        let is_next = |applied: Position| applied.next() == appended.position;
        if applied.held || !is_next(applied.tip.position) || !feeds.iter().all(|feed| is_next(feed.applied())) {
            // Register before the lock is released: until then no task can have applied the record.
            let waiting = self.wait_for(record.id, ask.cloned(), sent);
            self.backplane.wake_tails();
            return TryAppend::Waits(waiting);
        }
        let receipt = self.apply_to_feeds(appended.position, record, Origin::here(ask, sent), &feeds, &mut wakes);
        applied.tip = Tip { position: appended.position, id: record.id };
        if self.backplane.tails() > 1 {
            // Other nodes read the record. This node's tail skips it at the next tick: waking that
            // tail costs as much as a delivery.
            self.backplane.wake_tails();
        }
        drop(applied);
        self.read.notify_waiters();
        wakes.wake();
        TryAppend::Applied(receipt)
    }

    /// Applies a record that the tail loop has read.
    ///
    /// # Errors
    /// The reason why the loop must not read on.
    pub(crate) fn apply(self: &Arc<Self>, entry: Entry, feeds: &[Arc<dyn Feed>]) -> Result<(), TailEnd> {
        let mut wakes = Wakes::default();
        let mut applied = self.lock_applied();
        if applied.held {
            return Err(TailEnd::Rewind);
        }
        let tip = Tip { position: entry.position, id: entry.id };
        self.apply_entry(entry, feeds, &mut wakes).map_err(TailEnd::Outdated)?;
        if tip.position > applied.tip.position {
            applied.tip = tip;
        }
        drop(applied);
        wakes.wake();
        Ok(())
    }

    /// Applies a record, or skips one that cannot be read.
    ///
    /// # Errors
    /// The error of a record that cannot be read, and must not be skipped.
    fn apply_entry(
        self: &Arc<Self>,
        entry: Entry,
        feeds: &[Arc<dyn Feed>],
        wakes: &mut Wakes,
    ) -> Result<(), RecordError> {
        let Entry { position, id, record } = entry;
        // The tail returns records again that some feeds have: for a provider that was attached
        // later, and for records that their sender has applied.
        if feeds.iter().all(|feed| feed.applied() >= position) {
            return Ok(());
        }
        for feed in feeds.iter().filter(|feed| feed.applied().next() < position) {
            tracing::warn!(provider = feed.provider(), %position, "the log has a gap");
            feed.jump(position.previous());
            // One of the missing records may have been a revocation.
            self.revocations.request_load();
        }
        let record = match record.decode() {
            Ok(record) => record,
            Err(error) if !error.is_skippable() => return Err(error),
            Err(error) => {
                tracing::warn!(%position, %error, "a record was skipped");
                for feed in feeds.iter().filter(|feed| feed.applied() < position) {
                    feed.count_skipped();
                    feed.pass(position, Mark::of(id), Instant::now());
                }
                return Ok(());
            }
        };
        if record.node != self.node.id {
            self.apply_foreign(position, &record, feeds, wakes);
            return Ok(());
        }
        let waiter = self.take_waiter(record.id);
        let ask = waiter.as_ref().and_then(|waiter| waiter.ask.as_ref());
        // What no send waits for any longer is timed from here.
        let sent = waiter.as_ref().map_or_else(|| Stamp::of(record.id), |waiter| waiter.sent);
        let receipt = self.apply_to_feeds(position, &record, Origin::here(ask, sent), feeds, wakes);
        let Some(waiter) = waiter else { return Ok(()) };
        if waiter.done.send(receipt).is_err()
            && matches!(record.body, Body::Ask { .. })
            && let Some(ask) = &waiter.ask
        {
            // The sender has dropped its future meanwhile: nothing waits for the answers.
            feeds.iter().for_each(|feed| feed.cancel_ask(position, ask));
        }
        Ok(())
    }

    /// Applies a record of another node, and reports to that node what it awaits.
    fn apply_foreign(
        self: &Arc<Self>,
        position: Position,
        record: &Record,
        feeds: &[Arc<dyn Feed>],
        wakes: &mut Wakes,
    ) {
        let is_awaited = position.get() > self.first_read.load(Ordering::Acquire);
        match &record.body {
            Body::Ask { timeout, .. } if is_awaited => {
                let ask = Arc::new(Ask::new());
                self.apply_to_feeds(position, record, Origin::elsewhere(record.id, Some(&ask)), feeds, wakes);
                let acks = Acks::new(Arc::clone(&ask), Instant::now() + *timeout, {
                    let (ask, feeds) = (Arc::clone(&ask), feeds.to_vec());
                    move || feeds.iter().for_each(|feed| feed.cancel_ask(position, &ask))
                });
                self.report_ask(record, &ask, acks);
            }
            Body::Close { .. } | Body::Revoke(_) if is_awaited => {
                let receipt = self.apply_to_feeds(position, record, Origin::elsewhere(record.id, None), feeds, wakes);
                self.report_closed(record, receipt.delivered.map_or(0, |delivered| delivered.matched));
            }
            _ => {
                self.apply_to_feeds(position, record, Origin::elsewhere(record.id, None), feeds, wakes);
            }
        }
    }

    /// Applies a record to the providers that it is for. The other providers only advance their
    /// position; a provider that has the record already is skipped.
    fn apply_to_feeds(
        &self,
        position: Position,
        record: &Record,
        Origin { ours, ask, sent }: Origin<'_>,
        feeds: &[Arc<dyn Feed>],
        wakes: &mut Wakes,
    ) -> Receipt {
        let span = record.sent().map_or_else(Span::none, |event| self.deliver_span(record.id, Some(position), event));
        let _within = span.enter();
        let (seen, mark) = (Instant::now(), Mark::of(record.id));
        if let Body::Revoke(revocation) = &record.body {
            // Before connections are looked for: one that is registered later finds it.
            self.revocations.add(revocation);
        }
        let placed = Placed { position, mark, record, ours, ask, seen, sent, cursor: OnceCell::new() };
        let mut receipt = Receipt::new(record.id, Some(position), Some(Delivered::default()));
        for feed in feeds.iter().filter(|feed| feed.applied() < position) {
            if !record.providers.contains(feed.provider()) || !carries(&**feed, &record.body) {
                feed.pass(position, mark, seen);
                continue;
            }
            // A codec is the provider's own code: a panic in it must not affect the other
            // providers.
            let Ok(part) = catch_unwind(AssertUnwindSafe(|| feed.apply(&placed, wakes))) else {
                tracing::error!(provider = feed.provider(), event = %record.id, %position, "a record was skipped: the provider panicked");
                feed.count_skipped();
                if feed.applied() < position {
                    feed.pass(position, mark, seen);
                }
                continue;
            };
            if record.providers.is_one() {
                receipt = part;
            } else {
                receipt.add(feed.provider(), part);
            }
        }
        receipt.delivered.iter().for_each(|delivered| delivered.record_in(&span));
        if let Some(offline) = self.offline.get() {
            offline.applied(position, record, receipt.delivered.map_or(0, |delivered| delivered.matched));
        }
        tracing::debug!(event = %record.id, %position, delivered = ?receipt.delivered, "applied");
        receipt
    }
}

/// Returns whether the provider can carry the record: a node that only publishes names no
/// providers, and does not know what those of other nodes can.
fn carries(feed: &dyn Feed, body: &Body) -> bool {
    match body {
        Body::Ask { event, .. } => feed.carries(event, true),
        Body::Event { event, .. } => feed.carries(event, false),
        _ => true,
    }
}
