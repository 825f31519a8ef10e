//! The report of a node to the creator of a record: the connections that it matched, their answers,
//! and how many it closed.

use std::sync::Arc;
use std::time::Duration;

use crate::values::ack::AckStatus;
use crate::values::connection::ConnectionId;
use crate::values::event_id::EventId;
use crate::values::inbound::InboundPayload;

/// A part of what a node reports about one record. The items are numbered in the order in which
/// they were known, so that a repeated report changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The id of the record.
    pub(crate) record: EventId,
    /// The number of the first item.
    pub(crate) first: u64,
    pub(crate) items: Vec<Item>,
}

/// One item of a report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// A connection that got an ask and has no outcome yet.
    Expected { connection: ConnectionId, provider: Arc<str> },
    /// The outcome of an ask for one connection.
    Settled(Settled),
    /// The number of connections that were closed.
    Closed(u64),
    /// The end: no item follows.
    End,
}

/// The outcome of an ask for one connection of another node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settled {
    pub(crate) connection: ConnectionId,
    pub(crate) provider: Arc<str>,
    pub(crate) status: AckStatus,
    pub(crate) elapsed: Duration,
    pub(crate) payload: InboundPayload,
}

/// The answer to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The id of the record.
    pub(crate) record: EventId,
    /// The number of items that were received; `None` if none are awaited any longer.
    pub(crate) items: Option<u64>,
}
