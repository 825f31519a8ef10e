//! Applying records, one after the other, each to the providers that it is for: by the tail loop, or by who has appended it.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, TryLockError};
use tokio::time::Instant;

use crate::log::backplane::{AppendError, Appended, Entry};
use crate::log::feed::{Feed, Placed, Wakes};
use crate::log::record::{Body, Record};
use crate::log::repeat::RepeatKey;
use crate::log::shared::{Shared, Tip, Waiting};
use crate::values::ack::Ask;
use crate::values::cursor::{Epoch, Mark};
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};

/// What an append that need not wait came to.
pub(crate) enum AtOnce {
    /// The log cannot say at once, or somebody else applies a record just now.
    No,
    /// It was refused.
    Refused(AppendError),
    /// It is in the log, or an earlier one is.
    Appended(Appended),
    /// It is in the log, and applied.
    Applied(Receipt),
    /// It is in the log, behind records that are not applied yet.
    Waits(Waiting),
}

impl Shared {
    /// Appends a record, and applies it if everything before it is applied. It never waits, so a send from inside an apply gets
    /// its turn later.
    pub(crate) fn append_at_once(
        self: &Arc<Self>,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
        ask: Option<&Arc<Ask>>,
    ) -> AtOnce {
        let mut wakes = Wakes::default();
        let mut applied = match self.applied.try_lock() {
            Ok(applied) => applied,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return AtOnce::No,
        };
        let appended = match self.backplane.append_now(epoch, record, key) {
            None => return AtOnce::No,
            Some(Err(error)) => return AtOnce::Refused(error),
            Some(Ok(appended)) => appended,
        };
        if appended.repeated {
            return AtOnce::Appended(appended);
        }
        let feeds = self.feeds();
        let is_next = |place: Position| place.next() == appended.position;
        if applied.held || !is_next(applied.tip.position) || !feeds.iter().all(|feed| is_next(feed.applied())) {
            // Before the lock is free: nobody can have applied it yet.
            let waiting = self.wait_for(record.id, ask.cloned());
            self.backplane.wake_tails();
            return AtOnce::Waits(waiting);
        }
        let receipt = self.hand_out(appended.position, record, true, ask, &feeds, &mut wakes);
        applied.tip = Tip { position: appended.position, id: record.id };
        if self.backplane.tails() > 1 {
            // Other nodes read it. This one's tail passes over it at the next beat: to wake it costs as much as a delivery.
            self.backplane.wake_tails();
        }
        drop(applied);
        wakes.wake();
        AtOnce::Applied(receipt)
    }

    /// Applies a record that the tail loop has read; `false` if it has to begin to read anew.
    pub(crate) fn apply(&self, entry: Entry, feeds: &[Arc<dyn Feed>]) -> bool {
        let mut wakes = Wakes::default();
        let mut applied = self.lock_applied();
        if applied.held {
            return false;
        }
        let tip = Tip { position: entry.position, id: entry.id };
        self.apply_entry(entry, feeds, &mut wakes);
        if tip.position > applied.tip.position {
            applied.tip = tip;
        }
        drop(applied);
        wakes.wake();
        true
    }

    fn apply_entry(&self, entry: Entry, feeds: &[Arc<dyn Feed>], wakes: &mut Wakes) {
        let Entry { position, id, record } = entry;
        // Who came later reads again what the others have; what was applied by who had sent it is read again too.
        if feeds.iter().all(|feed| feed.applied() >= position) {
            return;
        }
        for feed in feeds.iter().filter(|feed| feed.applied().next() < position) {
            tracing::warn!(provider = feed.provider(), %position, "the log has a gap");
            feed.jump(position.previous());
        }
        let record = match record.decode() {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%position, %error, "a record was skipped");
                for feed in feeds.iter().filter(|feed| feed.applied() < position) {
                    feed.count_skipped();
                    feed.pass(position, Mark::of(id), Instant::now());
                }
                return;
            }
        };
        let ours = record.node == self.life().0;
        let waiter = if ours { self.take_waiter(record.id) } else { None };
        let ask = waiter.as_ref().and_then(|waiter| waiter.ask.as_ref());
        let receipt = self.hand_out(position, &record, ours, ask, feeds, wakes);
        let Some(waiter) = waiter else { return };
        if waiter.done.send(receipt).is_err()
            && matches!(record.body, Body::Ask { .. })
            && let Some(ask) = &waiter.ask
        {
            // The sender has given up meanwhile: nobody waits for the answers.
            feeds.iter().for_each(|feed| feed.end_ask(position, ask));
        }
    }

    /// Hands a record to the providers that it is for; the others only move their place, and who has it already does nothing.
    fn hand_out(
        &self,
        position: Position,
        record: &Record,
        ours: bool,
        ask: Option<&Arc<Ask>>,
        feeds: &[Arc<dyn Feed>],
        wakes: &mut Wakes,
    ) -> Receipt {
        let (seen, mark) = (Instant::now(), Mark::of(record.id));
        let placed = Placed { position, mark, record, ours, ask, seen, cursor: OnceCell::new() };
        let mut receipt = Receipt::new(record.id, Some(position), Some(Delivered::default()));
        for feed in feeds.iter().filter(|feed| feed.applied() < position) {
            if !record.providers.mean(feed.provider()) {
                feed.pass(position, mark, seen);
                continue;
            }
            // A codec is the provider's own code: what it does to one record is no matter of the others.
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
        tracing::debug!(event = %record.id, %position, delivered = ?receipt.delivered, "applied");
        receipt
    }
}
