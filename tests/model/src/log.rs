//! The log of the reference: a list of records, the rooms of users over time, and from that who
//! sees which record.
//!
//! It is written from the documentation and shares no code with what it is compared to.

use std::time::Duration;

use realtime_core::EventId;
use realtime_wire::Transport;
use tokio::time::Instant;

use crate::log_spy::Absence;
use crate::rooms::{Rooms, Visibility};
use crate::schedule::{By, Id, Identity, Member, Providers, Scope};
use crate::users::Users;

/// A position in the log: the number of records up to it.
pub(crate) type Position = u64;

/// The target of a record, exceptions included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audience {
    pub(crate) scope: Scope,
    pub(crate) except_user: Option<Member>,
    pub(crate) except_connection: Option<String>,
    /// The providers that it goes over.
    pub(crate) providers: Providers,
}

impl Audience {
    /// Returns everyone, over all providers.
    pub(crate) fn everybody() -> Self {
        Self { scope: Scope::All, except_user: None, except_connection: None, providers: Providers::ALL }
    }

    pub(crate) fn has_exception(&self) -> bool {
        self.except_user.is_some() || self.except_connection.is_some()
    }

    /// Returns whether both have the same target, over any providers.
    fn is_for_same(&self, other: &Self) -> bool {
        Self { providers: Providers::ALL, ..self.clone() } == Self { providers: Providers::ALL, ..other.clone() }
    }
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Ask,
    Event,
    /// A join or a leave: it only takes a position.
    Nothing,
}

/// The change that a record makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Absent(Absence),
    Join { member: Member, room: Id },
    Leave { member: Member, room: Id },
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// A number that no other record has, in any life of any log.
    pub(crate) mark: u64,
    /// The process that wrote it; `None` for another node.
    pub(crate) process: Option<usize>,
    /// The event's own number.
    pub(crate) number: u64,
    /// The sender.
    pub(crate) by: By,
    pub(crate) kind: RecordKind,
    pub(crate) change: Option<Change>,
    pub(crate) audience: Audience,
    pub(crate) latest: Option<Id>,
    /// The id, once its receipt is there.
    pub(crate) id: Option<EventId>,
    /// The time at which the process saw it.
    pub(crate) at: Instant,
    /// The least number of bytes that it takes in the window.
    pub(crate) least_bytes: usize,
}

/// A client with a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Viewer {
    pub(crate) identity: Identity,
    /// The transport of the connection.
    pub(crate) transport: Transport,
    /// The connection's id, once known.
    pub(crate) connection: Option<String>,
    /// The rooms that the connection entered itself.
    pub(crate) own: Rooms,
}

/// The log of one life, as a process sees it.
#[derive(Debug, Default)]
pub(crate) struct Log {
    records: Vec<Record>,
    pub(crate) users: Users,
}

/// The delay with which the server may notice that a deadline has passed.
pub(crate) const LATE: Duration = Duration::from_millis(1_100);

impl Log {
    /// Returns the position of the last record.
    pub(crate) fn end(&self) -> Position {
        self.records.len() as Position
    }

    pub(crate) fn push(&mut self, record: Record) -> Position {
        self.records.push(record);
        self.end()
    }

    pub(crate) fn record(&self, position: Position) -> &Record {
        &self.records[position as usize - 1]
    }

    pub(crate) fn record_mut(&mut self, position: Position) -> &mut Record {
        &mut self.records[position as usize - 1]
    }

    /// Returns how many of the records are older than this; they are the first ones.
    pub(crate) fn older_than(&self, age: Duration, now: Instant) -> Position {
        self.records.partition_point(|record| now - record.at > age) as Position
    }

    /// Returns the mark of the record at a position, if there is one.
    pub(crate) fn mark(&self, position: Position) -> Option<u64> {
        let at = position.checked_sub(1)?;
        self.records.get(at as usize).map(|record| record.mark)
    }

    /// Returns a log with the records up to a position, and nothing else.
    pub(crate) fn up_to(&self, last: Position) -> Self {
        Self { records: self.records[..last as usize].to_vec(), users: Users::default() }
    }

    /// Lets a process that knows these users read the log after this position, as if all records
    /// came now. The joins and leaves up to it count too, wherever their records are kept.
    pub(crate) fn take_up(&mut self, from: Position, users: Users, process: usize, now: Instant) {
        self.users = users;
        self.records.iter_mut().for_each(|record| record.at = now);
        for (at, record) in self.records.iter().enumerate() {
            let position = at as Position + 1;
            match record.change {
                Some(Change::Absent(absence)) => self.users.end(&Absence { position, at: now, ..absence }),
                Some(Change::Join { member, room }) => {
                    let ours = position > from && record.process == Some(process);
                    self.users.join(member, room, position, ours, now);
                }
                Some(Change::Leave { member, room }) => drop(self.users.leave(member, room, position)),
                None => {}
            }
        }
    }

    /// Returns whether a viewer sees the record at this position.
    pub(crate) fn sees(&self, viewer: &Viewer, position: Position) -> Visibility {
        self.is_for(viewer, &self.record(position).audience, position)
    }

    /// Returns whether a viewer sees something with this audience, were it at this position.
    pub(crate) fn is_for(&self, viewer: &Viewer, audience: &Audience, position: Position) -> Visibility {
        let Identity { user, tenant } = viewer.identity;
        let left_out = audience.except_user.is_some_and(|member| member.matches(viewer.identity))
            || audience.except_connection.is_some() && audience.except_connection == viewer.connection
            || !audience.providers.serve(viewer.transport);
        let yes = |is: bool| if is && !left_out { Visibility::Yes } else { Visibility::No };
        let in_room =
            |room: Id| viewer.own.sees(room, position).max(self.users.is_joined(viewer.identity, room, position));
        match audience.scope {
            Scope::All => yes(true),
            Scope::Room(room) => yes(true).min(in_room(room)),
            Scope::RoomIn(of, room) => yes(tenant == Some(of)).min(in_room(room)),
            Scope::Tenant(of) => yes(tenant == Some(of)),
            Scope::User(name) => yes(user == Some(name)),
            Scope::UserIn(of, name) => yes(user == Some(name) && tenant == Some(of)),
        }
    }

    /// Returns whether a newer event of the same series may replace this one for a viewer.
    pub(crate) fn is_superseded(&self, viewer: &Viewer, position: Position) -> bool {
        self.newer(position, self.end()).any(|newer| self.sees(viewer, newer) != Visibility::No)
    }

    /// Returns whether a viewer certainly sees a newer event of the same series, up to a position.
    pub(crate) fn has_newer(&self, viewer: &Viewer, position: Position, until: Position) -> bool {
        self.newer(position, until).any(|newer| self.sees(viewer, newer) == Visibility::Yes)
    }

    /// Returns whether both are of one series.
    pub(crate) fn is_same_series(&self, position: Position, other: Position) -> bool {
        let (one, other) = (self.record(position), self.record(other));
        one.latest.is_some() && one.latest == other.latest && one.audience.is_for_same(&other.audience)
    }

    fn newer(&self, position: Position, until: Position) -> impl Iterator<Item = Position> {
        (position + 1..=until).filter(move |newer| self.is_same_series(position, *newer))
    }
}
