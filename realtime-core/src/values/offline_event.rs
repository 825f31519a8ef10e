use std::time::SystemTime;

use serde::de::DeserializeOwned;

use crate::values::error::{Error, Result};
use crate::values::event::{Event, Payload};
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// An event for a user who was not there to get it, as an [`OfflineSink`](crate::OfflineSink) is
/// called with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfflineEvent {
    /// The event's id, the same in each call for it: the key by which a sink recognizes a repeat.
    pub id: EventId,
    /// The event's position in the log.
    pub position: Position,
    /// The user.
    pub user: String,
    /// The tenant, if the event was sent to the user in one tenant.
    pub tenant: Option<String>,
    /// The event's name.
    pub name: String,
    /// The payload, as it was published.
    pub payload: Payload,
    /// The time at which the event was published, by the clock of the node that did.
    pub sent_at: SystemTime,
    /// The reason of the call.
    pub reason: OfflineReason,
}

/// The reason why an [`OfflineSink`](crate::OfflineSink) is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OfflineReason {
    /// No connection of the user was there for the event, on any node, or reconnected for it in
    /// time.
    NoConnection,
    /// The user's connections were asked, and none of them answered in time.
    NotAnswered,
}

impl OfflineEvent {
    /// Creates the call for an event that is published now, for a test of a sink.
    pub fn new(user: impl Into<String>, event: &Event, reason: OfflineReason) -> Self {
        let id = EventId::random();
        Self {
            id,
            position: Position::START.next(),
            user: user.into(),
            tenant: None,
            name: event.name().to_owned(),
            payload: event.payload().clone(),
            sent_at: id.time(),
            reason,
        }
    }

    /// Sets the tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the position.
    pub(crate) fn at(mut self, position: Position, id: EventId) -> Self {
        (self.position, self.id, self.sent_at) = (position, id, id.time());
        self
    }

    /// Returns the payload as a value.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] when it does not fit the type, or is no JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.payload.bytes()).map_err(|error| Error::InvalidPayload(error.into()))
    }
}

impl OfflineReason {
    /// Returns a short name, for logs: `no_connection` or `not_answered`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::NotAnswered => "not_answered",
        }
    }
}
