//! Records, the content of a log.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::log::explain::{ExplainAsk, NodeAnswer};
use crate::log::offline::checkpoint::{Checkpoint, Taken};
use crate::log::refresh::{RefreshAsk, RefreshOutcome};
use crate::log::report::{Received, Report};
use crate::values::close::CloseReason;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::revocation::Revocation;
use crate::values::target::Target;
use crate::values::trace_context::TraceContext;

/// A record that a node appends to a log or publishes through the pipe: an event, an ask, a join, a
/// leave, a close …, for some providers or for all. A backplane that needs bytes calls
/// [`Record::bytes`]; one that keeps values never pays for them.
#[derive(Debug)]
pub struct Record {
    pub(crate) id: EventId,
    /// The node that created the record.
    pub(crate) node: NodeId,
    /// The providers that the record is for.
    pub(crate) providers: Providers,
    pub(crate) body: Body,
    /// The encoded record, created by the first call of [`Record::bytes`].
    pub(super) encoded: OnceLock<Bytes>,
}

/// The providers that a record is for: all of them, or those with these names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Providers(Option<Arc<[Box<str>]>>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// An event for a target; `widen` lets a node whose provider shows rooms to everyone do so.
    Event { target: Target, event: Event, widen: bool },
    /// An event that each matched connection is to answer within a time from the moment when its
    /// node applies the record: nodes compare no clocks.
    Ask { target: Target, event: Event, timeout: Duration },
    /// The join of a user to a room.
    Join { member: Member, room: Arc<str> },
    /// The leave of a user from a room.
    Leave { member: Member, room: Arc<str> },
    /// The expiry of an absent user's rooms, as far as they were joined up to a position.
    Absent { member: Member, seen: Position },
    /// The close of a target's current connections.
    Close { target: Target, reason: CloseReason },
    /// The question whether any node has a connection of these users, for whom rooms end
    /// otherwise.
    Check { members: Arc<[Member]> },
    /// The answer to it: a node has one, so that rooms joined up to now do not end.
    Present { member: Member },
    /// A part of what a node reports to the creator of a record. In the pipe only.
    Report(Report),
    /// The acknowledgement of reports about a record. In the pipe only.
    Received(Received),
    /// The request to ask this user's connections for a sign of life. In the pipe only.
    Probe { member: Member },
    /// The request to refresh the credentials of a connection. In the pipe only.
    Refresh(RefreshAsk),
    /// The answer to it. In the pipe only.
    Refreshed { request: EventId, outcome: RefreshOutcome },
    /// The revocation of a token, whose connections are closed.
    Revoke(Revocation),
    /// The question what a node knows of a user's connections. In the pipe only.
    Explain(ExplainAsk),
    /// The answer to it. In the pipe only.
    Explained(NodeAnswer),
    /// A checkpoint of the decisions about which users were offline. For no provider.
    Decided(Checkpoint),
    /// Which users' events the connections of a node got. In the pipe only.
    Taken(Taken),
}

/// The longest timeout of an ask; longer ones are shortened to it.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The size of a record in memory in addition to its payload, names included.
const RECORD_BYTES: usize = 256;

impl Record {
    pub(crate) fn new(id: EventId, node: NodeId, providers: Providers, body: Body) -> Self {
        Self { id, node, providers, body, encoded: OnceLock::new() }
    }

    /// Creates an event record with this id for all providers, from a random node: for tests of a
    /// backplane.
    pub fn of_event(id: EventId, target: Target, event: Event) -> Self {
        Self::new(id, NodeId::random(), Providers::ALL, Body::Event { target, event, widen: false })
    }

    /// Creates the record of a user's join to a room, by the bare name or in one tenant, from a
    /// random node: for tests of a backplane.
    #[must_use]
    pub fn of_join(id: EventId, user: &str, tenant: Option<&str>, room: &str) -> Self {
        let body = Body::Join { member: Member::new(user, tenant), room: room.into() };
        Self::new(id, NodeId::random(), Providers::ALL, body)
    }

    /// Creates the record of a user's leave from a room, as [`Record::of_join`] does.
    #[must_use]
    pub fn of_leave(id: EventId, user: &str, tenant: Option<&str>, room: &str) -> Self {
        let body = Body::Leave { member: Member::new(user, tenant), room: room.into() };
        Self::new(id, NodeId::random(), Providers::ALL, body)
    }

    /// Creates the record of the expiry of a user's rooms that were joined up to a position, as
    /// [`Record::of_join`] does.
    #[must_use]
    pub fn of_absence(id: EventId, user: &str, tenant: Option<&str>, seen: Position) -> Self {
        let body = Body::Absent { member: Member::new(user, tenant), seen };
        Self::new(id, NodeId::random(), Providers::ALL, body)
    }

    /// Creates the record that a node has a connection of a user, as [`Record::of_join`] does.
    #[must_use]
    pub fn of_presence(id: EventId, user: &str, tenant: Option<&str>) -> Self {
        let body = Body::Present { member: Member::new(user, tenant) };
        Self::new(id, NodeId::random(), Providers::ALL, body)
    }

    /// Returns the record's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Returns the event and its target, or `None` for another kind of record.
    pub fn event(&self) -> Option<(&Target, &Event)> {
        match &self.body {
            Body::Event { target, event, .. } => Some((target, event)),
            _ => None,
        }
    }

    /// Returns what the record sends: an event, or an ask.
    pub(crate) fn sent(&self) -> Option<&Event> {
        match &self.body {
            Body::Ask { event, .. } | Body::Event { event, .. } => Some(event),
            _ => None,
        }
    }

    /// Returns whether the record changes the rooms of a user.
    #[must_use]
    pub fn changes_rooms(&self) -> bool {
        self.member().is_some()
    }

    /// Returns the user whose rooms the record changes, if it does.
    pub(crate) fn member(&self) -> Option<&Member> {
        match &self.body {
            Body::Absent { member, .. }
            | Body::Join { member, .. }
            | Body::Leave { member, .. }
            | Body::Present { member } => Some(member),
            _ => None,
        }
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        let more = match &self.body {
            Body::Decided(checkpoint) => checkpoint.size(),
            _ => self.sent().map_or(0, |event| event.payload().size() + event.trace().map_or(0, TraceContext::size)),
        };
        RECORD_BYTES + more
    }
}

impl Body {
    /// Returns whether a node that cannot read the record holds the same without it.
    pub(crate) fn is_skippable(&self) -> bool {
        matches!(
            self,
            Self::Explain(_)
                | Self::Explained(_)
                | Self::Decided(_)
                | Self::Probe { .. }
                | Self::Received(_)
                | Self::Refresh(_)
                | Self::Refreshed { .. }
                | Self::Report(_)
                | Self::Taken(_)
        )
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, node, providers, body, encoded: _ } = self;
        (id, node, providers, body) == (&other.id, &other.node, &other.providers, &other.body)
    }
}

impl Providers {
    /// All providers, on every node.
    pub(crate) const ALL: Self = Self(None);

    /// Creates the set of one provider.
    pub(crate) fn one(name: &str) -> Self {
        Self(Some([name.into()].into()))
    }

    /// Creates the set of the providers with these names.
    pub(crate) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Returns the names; `None` for all providers.
    pub(crate) fn names(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }

    /// Returns whether the set is a single named provider.
    pub(crate) fn is_one(&self) -> bool {
        self.0.as_ref().is_some_and(|names| names.len() == 1)
    }

    /// Returns whether this provider is in the set.
    pub(crate) fn contains(&self, provider: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| **name == *provider))
    }
}
