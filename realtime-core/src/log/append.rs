//! Appending records: what a send comes to.

use std::sync::Arc;
use std::time::Duration;

use crate::log::apply::AtOnce;
use crate::log::backplane::{AppendError, Appended};
use crate::log::handle::Log;
use crate::log::record::{Body, Providers, Record};
use crate::log::repeat::RepeatKey;
use crate::log::shared::{Shared, Waiting};
use crate::values::ack::Ask;
use crate::values::cursor::Epoch;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::receipt::{Delivered, Receipt};

/// How long a send waits for its record to come back through the log.
const OUTCOME: Duration = Duration::from_secs(2);

/// What is known of a record that waits.
enum Known {
    /// It is in the log.
    Appended(Waiting),
    /// It repeats one that is in the log.
    Repeats(Appended),
    /// It is still to be appended.
    Nothing(Waiting),
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
        self.append_once(key, providers, id, body, ask).await
    }

    /// Appends an event for these of the providers that its sender named, or of all: its idempotency key counts with those.
    pub(crate) async fn append_event(
        &self,
        named: &Providers,
        providers: Providers,
        id: EventId,
        body: Body,
    ) -> Result<Receipt> {
        let key = self.0.repeat_key(named, &body);
        self.append_once(key, providers, id, body, None).await
    }

    async fn append_once(
        &self,
        key: Option<RepeatKey>,
        providers: Providers,
        id: EventId,
        body: Body,
        ask: Option<Arc<Ask>>,
    ) -> Result<Receipt> {
        let shared = &self.0;
        let (node, epoch) = shared.life();
        let record = Arc::new(Record::new(id, node, providers, body));
        let known = match shared.append_at_once(epoch, &record, key, ask.as_ref()) {
            AtOnce::Applied(receipt) => return Ok(receipt),
            AtOnce::Refused(error) => return Err(shared.refused(error, &record)),
            AtOnce::Waits(waiting) => Known::Appended(waiting),
            AtOnce::Appended(first) => Known::Repeats(first),
            // Before the append: the record may come back before the append's own answer does.
            AtOnce::No => Known::Nothing(shared.wait_for(id, ask)),
        };
        let outcome = shared.outcome(known, epoch, &record, key);
        tokio::time::timeout(OUTCOME, outcome).await.unwrap_or(Err(Error::OutcomeUnknown { id }))
    }
}

impl Shared {
    /// What becomes of a record of which so much is known.
    async fn outcome(
        &self,
        known: Known,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> Result<Receipt> {
        let mut waiting = match known {
            Known::Appended(mut waiting) => return waiting.applied().await,
            Known::Repeats(first) => return Ok(self.repeated(first, record).await),
            Known::Nothing(waiting) => waiting,
        };
        // Whichever comes first counts: a record that has come through the log is in it, whatever its append says.
        let appended = tokio::select! {
            biased;
            receipt = waiting.applied() => return receipt,
            answer = self.backplane.append(epoch, Arc::clone(record), key) => answer,
        };
        match appended {
            Ok(first) if first.repeated => Ok(self.repeated(first, record).await),
            Ok(_) => waiting.applied().await,
            Err(error) => Err(self.refused(error, record)),
        }
    }

    /// How the log knows that this is a repeat, if it is an event with a key.
    fn repeat_key(&self, providers: &Providers, body: &Body) -> Option<RepeatKey> {
        let Body::Event { target, event, .. } = body else { return None };
        event.idempotency_key()?;
        let feeds = self.feeds();
        let times = feeds.iter().filter(|feed| providers.mean(feed.provider())).map(|feed| feed.knows_repeats_for());
        RepeatKey::of(providers, target, event, times.max().unwrap_or_default())
    }

    /// What the sender of a record is told that the log has not taken, or may not have.
    fn refused(&self, error: AppendError, record: &Record) -> Error {
        tracing::debug!(event = %record.id, %error, "an append failed");
        match (&error, record.event().and_then(|(_, event)| event.idempotency_key())) {
            (AppendError::KeyReused, Some(key)) => return Error::KeyReused { key: key.to_owned() },
            (AppendError::Epoch, _) => self.look_wanted.notify_one(),
            _ => {}
        }
        error.into_error(record.id)
    }

    /// The receipt for a record that repeats this one, when that has been applied.
    async fn repeated(&self, first: Appended, record: &Record) -> Receipt {
        tracing::debug!(event = %record.id, first = %first.id, "not delivered: the idempotency key is known");
        loop {
            let read = self.read.notified();
            if self.lock_applied().tip.position >= first.position {
                return Receipt::new(first.id, Some(first.position), Some(Delivered::default())).as_repeated();
            }
            read.await;
        }
    }
}
