//! What the thread that writes is asked for.

use std::sync::Arc;

use realtime_core::spi::{AppendResult, Epoch, LogState, Position, Record, RepeatKey};
use realtime_core::{Error, EventId};
use tokio::sync::oneshot;

use crate::revoked::Revoke;

/// Work for the thread.
pub(crate) enum Request {
    Append(Vec<Append>),
    Probe(oneshot::Sender<Result<(), Error>>),
    Renew(Renewal),
    Revoke(Revoke),
}

/// An append that waits for its answer.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) epoch: Epoch,
    pub(crate) record: Arc<Record>,
    pub(crate) key: Option<RepeatKey>,
    pub(crate) answer: oneshot::Sender<AppendResult>,
}

/// A renewal that waits for its answer: a new epoch, if the record with this id is missing from its
/// position.
pub(crate) struct Renewal {
    pub(crate) seen: Epoch,
    pub(crate) position: Position,
    pub(crate) id: EventId,
    pub(crate) answer: oneshot::Sender<Result<LogState, Error>>,
}
