//! Why a user got an event, or did not.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::event_id::EventId;
use crate::values::fate::{Answer, Fate, Unknown};
use crate::values::node::{NodeId, NodeInfo};
use crate::values::position::Position;
use crate::values::target::Target;

/// The explanation of one event for one user: what is known of it, on all nodes. Its text is some
/// plain lines for an operator.
///
/// What is not known is in [`Explanation::unknown`] and in [`Fate::Unknown`]; nothing is guessed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explanation {
    /// The event.
    pub event: EventId,
    /// The user.
    pub user: String,
    /// The tenant; `None` for the user in any tenant.
    pub tenant: Option<String>,
    /// The event as the log has it; `None` if `unknown` says why it is not known.
    pub published: Option<Published>,
    /// The user's connections, the oldest first.
    pub connections: Vec<Explained>,
    /// The nodes that were asked, and this one.
    pub nodes: Vec<ExplainedNode>,
    /// The facts that are not known: without any, `connections` are all that there were.
    pub unknown: Vec<Unknown>,
}

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Published {
    /// The name.
    pub name: String,
    /// The position in the log.
    pub position: Position,
    /// The time at which its id was made, by the publisher's clock, in milliseconds since 1970;
    /// `None` if the id has no time.
    pub at_ms: Option<u64>,
    /// The node that published it.
    pub node: NodeId,
    /// The recipients.
    pub target: Target,
    /// The providers that it names; `None` for all.
    pub providers: Option<Vec<String>>,
    /// The size of the payload, in bytes.
    pub size: usize,
    /// The key of the series whose newest event replaces it for clients that catch up.
    pub latest_key: Option<String>,
    /// `true` if it is an ask, which clients answer.
    pub is_ask: bool,
}

/// A node that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExplainedNode {
    /// The node.
    pub node: NodeInfo,
    /// `false` if `unknown` says why it did not answer.
    pub answered: bool,
}

/// One connection of the user, and what became of the event for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explained {
    /// The connection.
    pub connection: ConnectionId,
    /// The provider's name.
    pub provider: String,
    /// The node.
    pub node: NodeId,
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The time at which it was registered, by its node's clock, in milliseconds since 1970.
    pub connected_ms: u64,
    /// The position after which it reads.
    pub from: Position,
    /// The way it began, as the client was notified: `resumed`, `new`, `expired`, `epoch`
    /// or `invalid`.
    pub began: String,
    /// The client's previous connection, if it resumed and named one.
    pub former: Option<ConnectionId>,
    /// The position up to which its session has taken everything; records for others that came
    /// later do not move it.
    pub taken: Position,
    /// The losses of which the client was notified, the last eight: after the first position, up to
    /// the second.
    pub lost: Vec<(Position, Position)>,
    /// The number of volatile events that were dropped because it was slow.
    pub dropped: u32,
    /// `true` if the client was asked to reconnect.
    pub reconnect: bool,
    /// The end; `None` while it is open.
    pub end: Option<ExplainedEnd>,
    /// `true` if the event was there before the connection, which reads it from the window.
    pub replayed: bool,
    /// The outcome of the event.
    pub fate: Fate,
    /// The answer, of an ask that reached the connection.
    pub answer: Option<Answer>,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExplainedEnd {
    /// The time, by the node's clock, in milliseconds since 1970.
    pub at_ms: u64,
    /// The last position that its node had applied.
    pub position: Position,
    /// The reason.
    pub reason: CloseReason,
}

impl Explanation {
    /// Creates the explanation of an event of which nothing is known, for mocks.
    pub fn new(event: EventId, user: impl Into<String>, tenant: Option<&str>) -> Self {
        let (user, tenant) = (user.into(), tenant.map(str::to_owned));
        let unknown = Vec::new();
        Self { event, user, tenant, published: None, connections: Vec::new(), nodes: Vec::new(), unknown }
    }

    /// Sets the event.
    #[must_use]
    pub fn with_published(mut self, published: Published) -> Self {
        self.published = Some(published);
        self
    }

    /// Adds a connection.
    #[must_use]
    pub fn with_connection(mut self, connection: Explained) -> Self {
        self.connections.push(connection);
        self
    }

    /// Adds a node that has answered or not.
    #[must_use]
    pub fn with_node(mut self, node: NodeInfo, answered: bool) -> Self {
        self.nodes.push(ExplainedNode { node, answered });
        self
    }

    /// Adds something that is not known.
    #[must_use]
    pub fn with_unknown(mut self, unknown: Unknown) -> Self {
        self.unknown.push(unknown);
        self
    }

    /// Returns whether a connection of the user took the event, or may still take it.
    #[must_use]
    pub fn reached(&self) -> bool {
        let reached = |fate: &Fate| matches!(fate, Fate::Acknowledged { .. } | Fate::Queued | Fate::Written);
        self.connections.iter().any(|connection| reached(&connection.fate))
    }
}

impl Published {
    /// Creates an event at a position, for mocks: an event for a target over all providers.
    pub fn new(name: impl Into<String>, position: Position, node: NodeId, target: Target) -> Self {
        Self {
            name: name.into(),
            position,
            at_ms: None,
            node,
            target,
            providers: None,
            size: 0,
            latest_key: None,
            is_ask: false,
        }
    }
}

impl Explained {
    /// Creates an open connection without a tenant that has taken everything up to the position at
    /// which it began, for mocks.
    pub fn new(
        node: NodeId,
        connection: ConnectionId,
        provider: impl Into<String>,
        from: Position,
        fate: Fate,
    ) -> Self {
        Self {
            connection,
            provider: provider.into(),
            node,
            tenant: None,
            address: None,
            connected_ms: 0,
            from,
            began: "new".to_owned(),
            former: None,
            taken: from,
            lost: Vec::new(),
            dropped: 0,
            reconnect: false,
            end: None,
            replayed: false,
            fate,
            answer: None,
        }
    }

    /// Sets the end.
    #[must_use]
    pub fn with_end(mut self, at_ms: u64, position: Position, reason: CloseReason) -> Self {
        self.end = Some(ExplainedEnd { at_ms, position, reason });
        self
    }
}
