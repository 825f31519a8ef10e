//! Appending records, and the outcome of a send.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::log::apply::TryAppend;
use crate::log::backplane::{AppendError, Appended};
use crate::log::counters::kind_of;
use crate::log::handle::Log;
use crate::log::record::{Body, Providers, Record};
use crate::log::repeat::RepeatKey;
use crate::log::shared::{Shared, Waiting};
use crate::values::ack::Ask;
use crate::values::cursor::Epoch;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::stamp::Stamp;

/// The longest time that a send waits for its record to arrive through the log.
const OUTCOME: Duration = Duration::from_secs(2);

/// The part of an append's outcome that is known without waiting.
enum AppendState {
    /// A record that is in the log.
    Appended(Waiting),
    /// A record that repeats one that is in the log.
    Repeated(Appended),
    /// A record that is still to be appended.
    Pending(Waiting),
}

impl Log {
    /// Appends a record for these providers, and waits until it has been applied here.
    pub(crate) async fn append(
        &self,
        providers: Providers,
        id: EventId,
        body: Body,
        ask: Option<Arc<Ask>>,
    ) -> Result<Receipt> {
        let key = self.0.repeat_key(&providers, &body);
        self.append_in(self.0.epoch(), key, Record::new(id, self.0.node.id, providers, body), ask).await
    }

    /// Appends an event for the providers that its sender named, or for all: the idempotency key is
    /// scoped to the named ones.
    pub(crate) async fn append_event(
        &self,
        named: &Providers,
        providers: Providers,
        id: EventId,
        body: Body,
    ) -> Result<Receipt> {
        let key = self.0.repeat_key(named, &body);
        self.append_in(self.0.epoch(), key, Record::new(id, self.0.node.id, providers, body), None).await
    }

    /// Appends a record in this epoch of the log, and waits until it has been applied here.
    pub(super) async fn append_in(
        &self,
        epoch: Epoch,
        key: Option<RepeatKey>,
        record: Record,
        ask: Option<Arc<Ask>>,
    ) -> Result<Receipt> {
        let (kind, begun) = (kind_of(&record.body), Stamp::of(record.id));
        let result = self.append_record(epoch, key, Arc::new(record), ask, begun).await;
        self.0.counters.appended(kind, begun, &result);
        result
    }

    async fn append_record(
        &self,
        epoch: Epoch,
        key: Option<RepeatKey>,
        record: Arc<Record>,
        ask: Option<Arc<Ask>>,
        sent: Stamp,
    ) -> Result<Receipt> {
        let (shared, id) = (&self.0, record.id);
        if shared.publishes.load(Ordering::Acquire) {
            let outcome = shared.append_unread(&record, key);
            return tokio::time::timeout(OUTCOME, outcome).await.unwrap_or(Err(Error::OutcomeUnknown { id }));
        }
        let state = match shared.try_append(epoch, &record, key, ask.as_ref(), sent) {
            TryAppend::Applied(receipt) => return Ok(receipt),
            TryAppend::Rejected(error) => return Err(shared.append_failed(error, &record)),
            TryAppend::Waits(waiting) => AppendState::Appended(waiting),
            TryAppend::Appended(first) => AppendState::Repeated(first),
            // Register before the append: the record may arrive before the append's own answer
            // does.
            TryAppend::Unavailable => AppendState::Pending(shared.wait_for(id, ask, sent)),
        };
        let outcome = shared.outcome(state, epoch, &record, key);
        tokio::time::timeout(OUTCOME, outcome).await.unwrap_or(Err(Error::OutcomeUnknown { id }))
    }
}

impl Shared {
    /// Waits for the outcome of a record in this state.
    async fn outcome(
        &self,
        state: AppendState,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> Result<Receipt> {
        let mut waiting = match state {
            AppendState::Appended(mut waiting) => return waiting.applied().await,
            AppendState::Repeated(first) => return Ok(self.repeated(first, record).await),
            AppendState::Pending(waiting) => waiting,
        };
        // The first result counts: a record that has arrived through the log is in it, whatever its
        // append answers.
        let appended = tokio::select! {
            biased;
            receipt = waiting.applied() => return receipt,
            answer = self.backplane.append(epoch, Arc::clone(record), key) => answer,
        };
        match appended {
            Ok(first) if first.repeated => Ok(self.repeated(first, record).await),
            Ok(_) => waiting.applied().await,
            Err(error) => Err(self.append_failed(error, record)),
        }
    }

    /// Returns the key by which the log recognizes a repeat, if the record is an event with a key.
    fn repeat_key(&self, providers: &Providers, body: &Body) -> Option<RepeatKey> {
        let Body::Event { target, event, .. } = body else { return None };
        event.idempotency_key()?;
        let feeds = self.feeds();
        let times = feeds.iter().filter(|feed| providers.contains(feed.provider())).map(|feed| feed.repeat_window());
        RepeatKey::of(providers, target, event, times.max().unwrap_or_default())
    }

    /// Returns the sender's error for a record that the log has not appended, or may not have.
    pub(super) fn append_failed(&self, error: AppendError, record: &Record) -> Error {
        tracing::debug!(event = %record.id, %error, "an append failed");
        match (&error, record.event().and_then(|(_, event)| event.idempotency_key())) {
            (AppendError::KeyReused, Some(key)) => return Error::KeyReused { key: key.to_owned() },
            (AppendError::Epoch, _) => self.check_requested.notify_one(),
            _ => {}
        }
        error.into_error(record.id)
    }

    /// Returns the receipt for a repeat of this record, once that one has been applied. Never waits
    /// for the lock of the applied position: the send may come from inside an apply.
    async fn repeated(&self, first: Appended, record: &Record) -> Receipt {
        tracing::debug!(event = %record.id, first = %first.id, "not delivered: the idempotency key is a repeat");
        loop {
            let read = self.read.notified();
            match self.try_lock_applied().map(|applied| applied.tip.position) {
                Some(applied) if applied >= first.position => {
                    return Receipt::new(first.id, Some(first.position), Some(Delivered::default())).as_repeated();
                }
                Some(_) => read.await,
                None => tokio::task::yield_now().await,
            }
        }
    }
}
