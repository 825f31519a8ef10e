use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::values::event_id::EventId;
use crate::values::position::Position;

/// The result of a send: the event is in the log and in this node's outboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The event's id, given by the publisher.
    pub id: EventId,
    /// The position in the log; `None` for events that skip the log (volatile events, single
    /// connections).
    pub position: Option<Position>,
    /// The delivery to this node's connections; `None` if it is not known.
    pub delivered: Option<Delivered>,
    /// The parts of the delivery by provider, if the event was for more than one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_provider: BTreeMap<String, Delivered>,
    /// The providers that cannot carry the event, if it was for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    #[serde(default)]
    repeated: bool,
}

impl Receipt {
    /// Creates a receipt, for mocks and custom providers.
    #[must_use]
    pub fn new(id: EventId, position: Option<Position>, delivered: Option<Delivered>) -> Self {
        Self { id, position, delivered, by_provider: BTreeMap::new(), skipped: Vec::new(), repeated: false }
    }

    /// Returns whether the event was not delivered, because an earlier one had the same idempotency
    /// key: the rest is that one's.
    #[must_use]
    pub fn repeated(&self) -> bool {
        self.repeated
    }

    /// Adds the delivery of the same event by one of several providers.
    pub fn add(&mut self, provider: &str, part: Self) {
        if part.repeated {
            self.repeated = true;
            (self.id, self.position) = (part.id, part.position);
        }
        let Some(part) = part.delivered else { return };
        self.delivered.get_or_insert_default().add(part);
        self.by_provider.insert(provider.to_owned(), part);
    }

    /// Sets the position in the span of the send.
    pub(crate) fn record_in(&self, span: &tracing::Span) {
        if let Some(position) = self.position
            && !span.is_disabled()
        {
            span.record("position", position.get() as i64);
        }
    }

    /// Marks the receipt as that of an event that repeats an earlier one, whose id and position it
    /// has.
    #[must_use]
    pub fn as_repeated(mut self) -> Self {
        self.repeated = true;
        self
    }
}

impl Delivered {
    /// Creates the part of a delivery to connections that all have the event in their outbox.
    #[must_use]
    pub fn queued(connections: usize) -> Self {
        Self { matched: connections, queued: connections, dropped: 0 }
    }

    /// Adds the part of a provider.
    pub(crate) fn add(&mut self, part: Self) {
        self.matched += part.matched;
        self.queued += part.queued;
        self.dropped += part.dropped;
    }

    /// Sets the fields of the span of the delivery.
    pub(crate) fn record_in(&self, span: &tracing::Span) {
        if !span.is_disabled() {
            // Signed, since OpenTelemetry has no unsigned numbers: they would become texts.
            let [matched, queued, dropped] = [self.matched, self.queued, self.dropped].map(|count| count as i64);
            span.record("matched", matched).record("queued", queued).record("dropped", dropped);
        }
    }
}

/// This node's part of a delivery. `queued` is not "received": only an ack is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivered {
    /// The number of connections that the target matched.
    pub matched: usize,
    /// The number of connections that have the event in their outbox, or will read it from the
    /// window because they are behind.
    pub queued: usize,
    /// The number of connections that will not get the event (volatile events to full outboxes,
    /// connections just closed).
    pub dropped: usize,
}
