//! The messages between nodes to refresh the credentials of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::values::connection::ConnectionId;
use crate::values::event_id::EventId;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::Refusal;
use crate::values::token::Token;

/// The outcome of a refresh.
pub(crate) type RefreshOutcome = Result<Refreshed, Refusal>;

/// The request to another node to refresh the credentials of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RefreshAsk {
    /// The request's own id, with which it is answered.
    pub(crate) request: EventId,
    pub(crate) provider: Arc<str>,
    pub(crate) connection: ConnectionId,
    pub(crate) token: Token,
}

/// The refreshes that wait for the answer of another node, by the ids of their requests.
#[derive(Default)]
pub(crate) struct Refreshes(Mutex<HashMap<EventId, oneshot::Sender<RefreshOutcome>>>);

impl Refreshes {
    pub(super) fn table(&self) -> MutexGuard<'_, HashMap<EventId, oneshot::Sender<RefreshOutcome>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
