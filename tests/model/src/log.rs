//! The reference: a list of records, who was in which room when, and from that who sees what.
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

/// A position in the log: the number of the last record before it.
pub(crate) type Position = u64;

/// Whom a record is for, exceptions included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audience {
    pub(crate) scope: Scope,
    pub(crate) except_user: Option<Member>,
    pub(crate) except_connection: Option<String>,
    /// Over which it reaches whom it is for.
    pub(crate) providers: Providers,
}

impl Audience {
    /// Everybody, over whatever.
    pub(crate) fn everybody() -> Self {
        Self { scope: Scope::All, except_user: None, except_connection: None, providers: Providers::ALL }
    }

    /// Whether both are for the same people, over whatever.
    fn is_for_same(&self, other: &Self) -> bool {
        Self { providers: Providers::ALL, ..self.clone() } == Self { providers: Providers::ALL, ..other.clone() }
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Ask,
    Event,
    /// A join or a leave: it only takes its position.
    Nothing,
}

/// What a record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Absent(Absence),
    Join { member: Member, room: Id },
    Leave { member: Member, room: Id },
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// No other record has it, in whatever life of whatever log.
    pub(crate) mark: u64,
    /// By which process it was written; none for another node.
    pub(crate) process: Option<usize>,
    /// The event's own number.
    pub(crate) number: u64,
    /// By whom it was sent.
    pub(crate) by: By,
    pub(crate) kind: RecordKind,
    pub(crate) change: Option<Change>,
    pub(crate) audience: Audience,
    pub(crate) latest: Option<Id>,
    /// Its id, if its receipt has told.
    pub(crate) id: Option<EventId>,
    /// When the process saw it.
    pub(crate) at: Instant,
    /// At least so many bytes in the window.
    pub(crate) least_bytes: usize,
}

/// Someone with a connection, as the rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) identity: Identity,
    /// By which it is connected.
    pub(crate) transport: Transport,
    /// The connection's id, once told.
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

/// How late the server may be to notice that a time is over.
pub(crate) const LATE: Duration = Duration::from_millis(1_100);

impl Log {
    /// The position after the last record.
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

    /// How many of the records were there for longer than this; they are the oldest ones.
    pub(crate) fn older_than(&self, age: Duration, now: Instant) -> Position {
        self.records.partition_point(|record| now - record.at > age) as Position
    }

    /// What is at a position that a record may be at.
    pub(crate) fn mark(&self, position: Position) -> Option<u64> {
        let at = position.checked_sub(1)?;
        self.records.get(at as usize).map(|record| record.mark)
    }

    /// The first records, up to a position, and nothing else.
    pub(crate) fn up_to(&self, last: Position) -> Self {
        Self { records: self.records[..last as usize].to_vec(), users: Users::default() }
    }

    /// Taken up by a process that knows these users: from this position on, as if all had come now.
    pub(crate) fn take_up(&mut self, from: Position, users: Users, process: usize, now: Instant) {
        self.users = users;
        self.records.iter_mut().for_each(|record| record.at = now);
        for (at, record) in self.records.iter().enumerate().skip(from as usize) {
            let position = at as Position + 1;
            match record.change {
                Some(Change::Absent(ended)) => self.users.end(&Absence { position, at: now, ..ended }),
                Some(Change::Join { member, room }) => {
                    self.users.join(member, room, position, record.process == Some(process), now);
                }
                Some(Change::Leave { member, room }) => drop(self.users.leave(member, room, position)),
                None => {}
            }
        }
    }

    /// Whether the record at this position is for someone.
    pub(crate) fn sees(&self, viewer: &Viewer, position: Position) -> Visibility {
        self.is_for(viewer, &self.record(position).audience, position)
    }

    /// Whether something for this audience, were it at this position, is for someone.
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

    /// Whether a newer event of the same series makes this one needless for someone.
    pub(crate) fn is_superseded(&self, viewer: &Viewer, position: Position) -> bool {
        self.newer(position, self.end()).any(|newer| self.sees(viewer, newer) != Visibility::No)
    }

    /// Whether a newer event of the same series, up to here, is certainly for someone.
    pub(crate) fn has_newer(&self, viewer: &Viewer, position: Position, until: Position) -> bool {
        self.newer(position, until).any(|newer| self.sees(viewer, newer) == Visibility::Yes)
    }

    /// Whether both are of one series.
    pub(crate) fn is_same_series(&self, position: Position, other: Position) -> bool {
        let (one, other) = (self.record(position), self.record(other));
        one.latest.is_some() && one.latest == other.latest && one.audience.is_for_same(&other.audience)
    }

    fn newer(&self, position: Position, until: Position) -> impl Iterator<Item = Position> {
        (position + 1..=until).filter(move |newer| self.is_same_series(position, *newer))
    }
}
