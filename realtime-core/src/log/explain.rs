//! The messages between nodes to explain the outcome of an event for a user's connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

use crate::values::cursor::Epoch;
use crate::values::event_id::EventId;
use crate::values::explanation::Explained;
use crate::values::node::NodeId;
use crate::values::position::Position;

/// The most explanations at a time; others wait for their turn.
const MOST_AT_A_TIME: usize = 16;
/// The version of nodes that know the question.
pub(super) const NEEDS: u8 = 3;

/// The question to a node about a user's connections, and what became of an event for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExplainAsk {
    /// The request's own id, with which it is answered.
    pub(crate) request: EventId,
    pub(crate) event: EventId,
    /// The event's position and the epoch that it is of, if it is in the log.
    pub(crate) place: Option<(Epoch, Position)>,
    pub(crate) user: Arc<str>,
    /// The tenant; `None` for the user in any tenant.
    pub(crate) tenant: Option<Arc<str>>,
}

/// The answer of one node, with what it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeAnswer {
    /// The id of the request.
    pub(crate) request: EventId,
    /// The start of the node, in milliseconds since 1970, if it began after the event.
    pub(crate) started_ms: Option<u64>,
    /// The end of the last connection that it has forgotten, in milliseconds since 1970, if the
    /// event may have been for one of them.
    pub(crate) forgotten_ms: Option<u64>,
    /// `false` if it keeps no ended connections.
    pub(crate) keeps: bool,
    /// The number of the user's connections that are left out.
    pub(crate) more: u64,
    pub(crate) connections: Vec<Explained>,
}

/// The way of the answers to an explanation.
pub(super) type Answers = mpsc::Sender<(NodeId, NodeAnswer)>;

/// The explanations under way.
pub(crate) struct Explains {
    /// Those that wait for other nodes, by the ids of their requests.
    waiting: Mutex<HashMap<EventId, Answers>>,
    pub(super) turns: Semaphore,
    /// One permit: who has it reads the log for a record.
    pub(super) searches: Semaphore,
}

impl Default for Explains {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(MOST_AT_A_TIME), searches: Semaphore::new(1) }
    }
}

impl Explains {
    pub(super) fn table(&self) -> MutexGuard<'_, HashMap<EventId, Answers>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
