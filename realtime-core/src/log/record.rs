//! What a log holds: a record.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;

use crate::log::directory::NodeId;
use crate::values::close::CloseReason;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::target::Target;

/// What a node appends to a log or publishes past it: an event, an ask, a join, a leave or a close, for some providers or for
/// all. A backplane that needs bytes asks for [`Record::bytes`]; one that keeps values never pays for them.
#[derive(Debug)]
pub struct Record {
    pub(crate) id: EventId,
    /// Who made it.
    pub(crate) node: NodeId,
    /// Whom it is for.
    pub(crate) providers: Providers,
    pub(crate) body: Body,
    /// Made by the first who asks for them.
    pub(super) encoded: OnceLock<Bytes>,
}

/// The providers that a record is for, by name: all of them, or these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Providers(Option<Arc<[Box<str>]>>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// An event for a target; `widen` lets a node whose provider shows rooms to everyone do so.
    Event { target: Target, event: Event, widen: bool },
    /// An event that each matched connection is to answer before the deadline.
    Ask { target: Target, event: Event, deadline: SystemTime },
    /// A user enters a room.
    Join { member: Member, room: Arc<str> },
    /// A user leaves a room.
    Leave { member: Member, room: Arc<str> },
    /// The end of an absent user's rooms, as far as they were joined up to a place.
    Absent { member: Member, seen: Position },
    /// The connections of a target that are there are closed.
    Close { target: Target, reason: CloseReason },
}

/// What a record takes in memory beside its payload, names included.
const RECORD_BYTES: usize = 256;

impl Record {
    pub(crate) fn new(id: EventId, node: NodeId, providers: Providers, body: Body) -> Self {
        Self { id, node, providers, body, encoded: OnceLock::new() }
    }

    /// An event for all providers with this id, of a node that is nobody's: for tests of a backplane.
    pub fn of_event(id: EventId, target: Target, event: Event) -> Self {
        Self::new(id, NodeId::random(), Providers::ALL, Body::Event { target, event, widen: false })
    }

    /// What it is told by.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The event, unless it is something else.
    pub fn event(&self) -> Option<(&Target, &Event)> {
        match &self.body {
            Body::Event { target, event, .. } => Some((target, event)),
            _ => None,
        }
    }

    /// About as many bytes as it takes in memory.
    pub fn size(&self) -> usize {
        match &self.body {
            Body::Event { event, .. } | Body::Ask { event, .. } => RECORD_BYTES + event.payload().size(),
            _ => RECORD_BYTES,
        }
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, node, providers, body, encoded: _ } = self;
        (id, node, providers, body) == (&other.id, &other.node, &other.providers, &other.body)
    }
}

impl Providers {
    /// All there are, on every node.
    pub(crate) const ALL: Self = Self(None);

    /// This one alone.
    pub(crate) fn one(name: &str) -> Self {
        Self(Some([name.into()].into()))
    }

    /// These.
    pub(crate) fn these<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Their names; nothing for all there are.
    pub(crate) fn names(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }

    /// Whether it is one alone.
    pub(crate) fn is_one(&self) -> bool {
        self.0.as_ref().is_some_and(|names| names.len() == 1)
    }

    /// Whether this one is among them.
    pub(crate) fn mean(&self, provider: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| **name == *provider))
    }
}
