use serde::{Deserialize, Serialize};

use crate::values::event_id::EventId;
use crate::values::position::Position;

/// What is known when a send resolves: the event is in the log and in this node's outboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event's id, given by the publisher.
    pub id: EventId,
    /// Its place in the log; `None` for what skips the log (volatile events, single connections).
    pub position: Option<Position>,
    /// What this node's connections got; `None` where it is not known.
    pub delivered: Option<Delivered>,
    #[serde(default)]
    repeated: bool,
}

impl Receipt {
    /// A receipt, for mocks and providers of one's own.
    pub fn new(id: EventId, position: Option<Position>, delivered: Option<Delivered>) -> Self {
        Self { id, position, delivered, repeated: false }
    }

    /// Whether the event was not delivered, because an earlier one had the same idempotency key: the rest is that one's.
    pub fn repeated(&self) -> bool {
        self.repeated
    }

    /// Adds what another provider made of the same record.
    pub(crate) fn add(&mut self, part: Self) {
        if part.repeated {
            *self = part;
        } else if let (Some(all), Some(part)) = (&mut self.delivered, part.delivered) {
            all.matched += part.matched;
            all.queued += part.queued;
            all.dropped += part.dropped;
        }
    }

    /// The same receipt, for an event that repeats the one it is of.
    pub fn as_repeated(mut self) -> Self {
        self.repeated = true;
        self
    }
}

/// This node's part of a delivery. `queued` is not "received": only an ack is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Connections the target matched.
    pub matched: usize,
    /// Connections that have it in their outbox, or will read it from the window because they are behind.
    pub queued: usize,
    /// Connections that will not get it (volatile events to full outboxes, connections just closed).
    pub dropped: usize,
}
