//! The outcome of one event for one connection.

use serde::{Deserialize, Serialize};

use crate::values::connection::ConnectionId;
use crate::values::node::NodeInfo;
use crate::values::position::Position;

/// The outcome of an event for one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Fate {
    /// Known to have arrived.
    Acknowledged {
        /// The way in which that is known.
        by: Acknowledgement,
    },
    /// Meant for the connection, which did not get it.
    Dropped {
        /// The reason.
        why: DropReason,
    },
    /// Not meant for the connection.
    NotMatched {
        /// The reason.
        why: Mismatch,
    },
    /// Not taken by the connection's session yet: its client reads slowly, or not at all.
    Queued,
    /// Left out for a newer event with the same [`crate::Event::latest_key`].
    Superseded,
    /// Not known, or no longer.
    Unknown {
        /// The reason.
        why: Unknown,
    },
    /// Taken by the connection's session, which gives all it takes to the socket. Whether the
    /// client has read it is not known.
    Written,
}

/// The way in which it is known that an event has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Acknowledgement {
    /// By the client's answer to the ask.
    Answered,
    /// By a later connection of the client, which named this one and resumed from after the event.
    Resumed(ConnectionId),
}

/// Why a connection did not get an event that was meant for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum DropReason {
    /// The connection ended before its session took the event.
    Closed,
    /// The event had left the window before the client read so far; the client was sent `lost`.
    Lost {
        /// The position up to which the client had everything.
        from: Position,
        /// The position after which it went on.
        until: Position,
    },
    /// Connections of the user were lost within the event too often, so that it was skipped; the
    /// client was sent `lost`.
    TooLarge,
}

/// Why an event was not meant for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Mismatch {
    /// Connected after the event, without a cursor from before it.
    ConnectedLater,
    /// Ended before the event.
    EndedBefore,
    /// Among those that the event is not for.
    Excepted,
    /// Connected after the ask: asks are not repeated.
    NotAsked,
    /// Of a provider that the event does not name, or that cannot carry it.
    Provider,
    /// Resumed with a cursor from the event's position or after it.
    ResumedLater,
    /// Not in the room at the event's position.
    Room,
    /// Of another tenant.
    Tenant,
    /// Of another user than the event is for.
    User,
}

/// The answer of a connection to an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Answer {
    /// None while one was awaited.
    Missing,
    /// An answer in time.
    Received,
    /// No longer known.
    Unknown,
    /// An answer in time that could not be read.
    Unreadable,
    /// Not yet; one is awaited.
    Waiting,
}

/// Something that an explanation cannot say, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Unknown {
    /// The ask may have been over before the connection, which was behind, read so far.
    AskTime,
    /// The connection is being closed.
    Closing,
    /// The connection belongs to another epoch of the log.
    Epoch,
    /// Nothing is known of the event.
    Event,
    /// The directory did not answer: other nodes were not asked.
    Directory,
    /// The log did not answer.
    Log,
    /// More connections of the user than are named; the newest are.
    More {
        /// The node.
        node: NodeInfo,
        /// The number of connections that are left out.
        connections: u64,
    },
    /// The connection lost, or left out, more than is kept.
    Omissions,
    /// The node does not keep ended connections.
    NotKept {
        /// The node.
        node: NodeInfo,
    },
    /// The node began after the event: it is not known what ended with a process before it.
    NodeStarted {
        /// The node.
        node: NodeInfo,
        /// The start of the node, in milliseconds since 1970.
        at_ms: u64,
    },
    /// The id is that of a record which is no event, or which this node cannot read.
    NotAnEvent,
    /// No such event is in the log: it was volatile or for one connection, it has left the log, or
    /// it never was there.
    NotInLog {
        /// The time of the oldest record of the log, in milliseconds since 1970.
        since_ms: Option<u64>,
    },
    /// The connection's node had not read the event when it was asked.
    NotRead,
    /// The node has forgotten connections that the event may have been for, since newer ones ended.
    Overwritten {
        /// The node.
        node: NodeInfo,
        /// The end of the last connection that was forgotten, in milliseconds since 1970.
        until_ms: u64,
    },
    /// The process that published the event has no lease: it only publishes, or it is gone, and
    /// with it what it knew of its connections.
    PublisherGone,
    /// The rooms of the connection at that position are no longer known.
    Rooms,
    /// The event was not found in the time, or among the number of records, that a search has.
    Search,
    /// The node did not answer in time.
    Silent {
        /// The node.
        node: NodeInfo,
    },
    /// The node runs a version that does not know the question.
    Version {
        /// The node.
        node: NodeInfo,
    },
}
