//! The reference: an append-only list of records, who was in which room when, and from that who sees what.
//!
//! It is written from the documentation and shares no code with what it is compared to.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::schedule::{Id, Member, Person, Scope};
use crate::tape::Ended;

/// A place in the log: the number of the last record before it.
pub(crate) type Place = u64;

/// Whether something is for someone. `Maybe` is what two events that raced leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sees {
    No,
    Maybe,
    Yes,
}

/// A time in a room: for records after one place, up to and with another. Each is known to lie between two.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: (Place, Place),
    until: (Place, Place),
}

const OPEN: (Place, Place) = (Place::MAX, Place::MAX);

/// Who was in which room when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(BTreeMap<Id, Vec<Span>>);

impl Sees {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

impl Rooms {
    /// In, from a place between these two on; nothing changes for who is in.
    pub(crate) fn enter(&mut self, room: Id, earliest: Place, latest: Place) {
        if !self.is_in(room) {
            self.0.entry(room).or_default().push(Span { after: (earliest, latest), until: OPEN });
        }
    }

    /// The first entry happened between these places.
    pub(crate) fn entered_between(&mut self, room: Id, earliest: Place, latest: Place) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.first_mut()) {
            span.after = (earliest, latest);
        }
    }

    /// The last entry happened by this place.
    pub(crate) fn entered_by(&mut self, room: Id, latest: Place) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.last_mut()) {
            span.after.1 = span.after.1.min(latest);
        }
    }

    /// Out, as of a place between these two.
    pub(crate) fn leave(&mut self, room: Id, earliest: Place, latest: Place) {
        for span in self.0.get_mut(&room).into_iter().flatten().filter(|span| span.until == OPEN) {
            span.until = (earliest, latest);
        }
    }

    /// The last leave happened by this place.
    pub(crate) fn left_by(&mut self, room: Id, latest: Place) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.last_mut())
            && span.until != OPEN
        {
            span.until.1 = span.until.1.min(latest);
        }
    }

    pub(crate) fn is_in(&self, room: Id) -> bool {
        self.0.get(&room).is_some_and(|spans| spans.iter().any(|span| span.until == OPEN))
    }

    pub(crate) fn sees(&self, room: Id, position: Place) -> Sees {
        let one = |span: &Span| {
            if position > span.after.1 && position <= span.until.0 {
                Sees::Yes
            } else if position > span.after.0 && position <= span.until.1 {
                Sees::Maybe
            } else {
                Sees::No
            }
        };
        self.0.get(&room).and_then(|spans| spans.iter().map(one).max()).unwrap_or(Sees::No)
    }

    /// Out of all rooms that were entered up to a place, as of another one.
    fn leave_entered_by(&mut self, seen: Place, at: Place) {
        for span in self.0.values_mut().flatten().filter(|span| span.until == OPEN && span.after.1 <= seen) {
            span.until = (at, at);
        }
    }

    fn is_in_any(&self) -> bool {
        self.0.keys().any(|room| self.is_in(*room))
    }
}

/// Whom a record is for, exceptions included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audience {
    pub(crate) scope: Scope,
    pub(crate) except_user: Option<Member>,
    pub(crate) except_connection: Option<String>,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Ask,
    Event,
    /// A join, a leave, or a repeat: it only takes its place.
    Nothing,
    /// An event that may turn out to be a repeat.
    Unsure,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The event's own number.
    pub(crate) number: u64,
    pub(crate) what: What,
    pub(crate) audience: Audience,
    pub(crate) latest: Option<Id>,
    pub(crate) at: Instant,
    /// At least so many bytes in the window.
    pub(crate) least_bytes: usize,
}

/// Someone with a connection, as the rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) person: Person,
    /// The connection's id, once told.
    pub(crate) connection: Option<String>,
    /// The rooms that the connection entered itself.
    pub(crate) own: Rooms,
}

/// What is known of a user's name.
#[derive(Debug, Default)]
struct User {
    /// What was joined by the bare name, which holds in every tenant.
    bare: Standing,
    tenants: BTreeMap<Id, OfTenant>,
}

/// What one tenant's user has of its own.
#[derive(Debug, Default)]
struct OfTenant {
    own: Standing,
    /// The rooms that it has left alone, whatever the bare name was joined to.
    shut_out: Rooms,
}

#[derive(Debug, Default)]
struct Standing {
    rooms: Rooms,
    /// Every leave, with its room.
    left: Vec<(Place, Id)>,
    online: usize,
    /// When the last connection went, at the earliest and at the latest.
    offline: Option<(Instant, Instant)>,
    /// The records that have ended rooms by absence.
    ended: Vec<Place>,
}

impl Standing {
    fn join(&mut self, room: Id, position: Place, now: Instant) {
        if self.online == 0 {
            // A user without any room may have been forgotten and come anew.
            let earliest = self.offline.map_or(now, |(earliest, _)| earliest);
            let latest = if self.rooms.is_in_any() { self.offline.map_or(now, |(_, latest)| latest) } else { now };
            self.offline = Some((earliest, latest));
        }
        self.rooms.enter(room, position, position);
    }

    fn leave(&mut self, room: Id, position: Place) {
        self.rooms.leave(room, position, position);
        self.left.push((position, room));
    }

    fn came(&mut self) {
        self.online += 1;
        self.offline = None;
    }

    /// The rooms that were joined up to a place end by absence.
    fn end(&mut self, ended: &Ended, age: Duration) -> Result<(), String> {
        match self.offline {
            Some((earliest, _)) if ended.at - earliest <= age => return Err(format!("too early: {ended:?}")),
            Some(_) => self.offline = Some((ended.at, ended.at)),
            None => {}
        }
        self.rooms.leave_entered_by(ended.seen, ended.place);
        self.ended.push(ended.place);
        Ok(())
    }

    fn went(&mut self, now: Instant) {
        self.online -= 1;
        if self.online == 0 {
            self.offline = Some((now, now));
        }
    }
}

/// The log of one epoch.
#[derive(Debug, Default)]
pub(crate) struct Log {
    records: Vec<Record>,
    users: BTreeMap<Id, User>,
}

/// How late the server may be to notice that a time is over.
pub(crate) const LATE: Duration = Duration::from_millis(1_100);

impl Log {
    /// The place after the last record.
    pub(crate) fn end(&self) -> Place {
        self.records.len() as Place
    }

    pub(crate) fn push(&mut self, record: Record) -> Place {
        self.records.push(record);
        self.end()
    }

    pub(crate) fn record(&self, position: Place) -> &Record {
        &self.records[position as usize - 1]
    }

    pub(crate) fn record_mut(&mut self, position: Place) -> &mut Record {
        &mut self.records[position as usize - 1]
    }

    /// How many of the records were there for longer than this; they are the oldest ones.
    pub(crate) fn older_than(&self, age: Duration, now: Instant) -> Place {
        self.records.partition_point(|record| now - record.at > age) as Place
    }

    pub(crate) fn join(&mut self, member: Member, room: Id, position: Place, now: Instant) {
        let user = self.users.entry(member.user).or_default();
        let Some(tenant) = member.tenant else {
            user.bare.join(room, position, now);
            for of_tenant in user.tenants.values_mut() {
                of_tenant.shut_out.leave(room, position, position);
            }
            return;
        };
        let of_tenant = user.tenants.entry(tenant).or_default();
        of_tenant.own.join(room, position, now);
        of_tenant.shut_out.leave(room, position, position);
    }

    /// Whether somebody is shut out of a membership of the bare name.
    pub(crate) fn leave(&mut self, member: Member, room: Id, position: Place) -> bool {
        let user = self.users.entry(member.user).or_default();
        let Some(tenant) = member.tenant else {
            user.bare.leave(room, position);
            for of_tenant in user.tenants.values_mut() {
                of_tenant.own.rooms.leave(room, position, position);
                of_tenant.shut_out.leave(room, position, position);
            }
            return false;
        };
        let of_tenant = user.tenants.entry(tenant).or_default();
        of_tenant.own.leave(room, position);
        of_tenant.shut_out.enter(room, position, position);
        user.bare.rooms.is_in(room)
    }

    /// The place of the last leave, up to this place, by which the server has taken someone out of a room.
    pub(crate) fn left(&self, person: Person, room: Id, by: Place) -> Place {
        let Some(user) = person.user.and_then(|user| self.users.get(&user)) else { return 0 };
        let of_tenant = person.tenant.and_then(|tenant| user.tenants.get(&tenant)).map(|of_tenant| &of_tenant.own);
        let leaves = std::iter::once(&user.bare).chain(of_tenant).flat_map(|standing| &standing.left);
        leaves.filter(|(place, of)| *of == room && *place <= by).map(|(place, _)| *place).max().unwrap_or_default()
    }

    /// A connection of someone is there.
    pub(crate) fn came(&mut self, person: Person) {
        self.standings(person).for_each(Standing::came);
    }

    /// A connection of someone is gone.
    pub(crate) fn went(&mut self, person: Person, now: Instant) {
        self.standings(person).for_each(|standing| standing.went(now));
    }

    /// The bare name's and its tenant's.
    fn standings(&mut self, person: Person) -> impl Iterator<Item = &mut Standing> {
        let user = person.user.map(|user| self.users.entry(user).or_default());
        user.into_iter().flat_map(move |User { bare, tenants }| {
            let of_tenant = person.tenant.map(|tenant| &mut tenants.entry(tenant).or_default().own);
            std::iter::once(bare).chain(of_tenant)
        })
    }

    /// The server says that a user's rooms have ended by absence.
    pub(crate) fn end_absent(&mut self, ended: &Ended, age: Duration) -> Result<(), String> {
        let user = self.users.entry(ended.member.user).or_default();
        match ended.member.tenant {
            None => user.bare.end(ended, age),
            Some(tenant) => user.tenants.entry(tenant).or_default().own.end(ended, age),
        }
    }

    /// The last place, up to this one, at which someone's rooms have ended by absence.
    pub(crate) fn ended(&self, person: Person, by: Place) -> Place {
        let Some(user) = person.user.and_then(|user| self.users.get(&user)) else { return 0 };
        let of_tenant = person.tenant.and_then(|tenant| user.tenants.get(&tenant)).map(|of_tenant| &of_tenant.own);
        let places = std::iter::once(&user.bare).chain(of_tenant).flat_map(|standing| &standing.ended);
        places.copied().filter(|place| *place <= by).max().unwrap_or_default()
    }

    /// Nobody who has been away for longer than the window's age is a member for long.
    pub(crate) fn check_absent(&self, age: Duration, now: Instant) -> Result<(), String> {
        for (user, User { bare, tenants }) in &self.users {
            for standing in std::iter::once(bare).chain(tenants.values().map(|of_tenant| &of_tenant.own)) {
                let is_over = standing.offline.is_some_and(|(_, latest)| now - latest > age + LATE);
                if is_over && standing.rooms.is_in_any() {
                    return Err(format!("nothing has ended the rooms of user {user}, who is absent: {standing:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether someone has been joined to a room when the record at this place was logged.
    fn is_joined(&self, person: Person, room: Id, position: Place) -> Sees {
        let Some(user) = person.user.and_then(|user| self.users.get(&user)) else { return Sees::No };
        let bare = user.bare.rooms.sees(room, position);
        let Some(of_tenant) = person.tenant.and_then(|tenant| user.tenants.get(&tenant)) else { return bare };
        bare.min(of_tenant.shut_out.sees(room, position).not()).max(of_tenant.own.rooms.sees(room, position))
    }

    /// Whether the record at this place is for someone.
    pub(crate) fn sees(&self, viewer: &Viewer, position: Place) -> Sees {
        self.is_for(viewer, &self.record(position).audience, position)
    }

    /// Whether something for this audience, were it at this place, is for someone.
    pub(crate) fn is_for(&self, viewer: &Viewer, audience: &Audience, position: Place) -> Sees {
        let Person { user, tenant } = viewer.person;
        let left_out = audience.except_user.is_some_and(|member| member.means(viewer.person))
            || audience.except_connection.is_some() && audience.except_connection == viewer.connection;
        let yes = |is: bool| if is && !left_out { Sees::Yes } else { Sees::No };
        let in_room = |room: Id| viewer.own.sees(room, position).max(self.is_joined(viewer.person, room, position));
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
    pub(crate) fn is_superseded(&self, viewer: &Viewer, position: Place) -> bool {
        self.newer(position, self.end()).any(|newer| self.sees(viewer, newer) != Sees::No)
    }

    /// Whether a newer event of the same series, up to here, is certainly for someone.
    pub(crate) fn has_newer(&self, viewer: &Viewer, position: Place, until: Place) -> bool {
        self.newer(position, until).any(|newer| self.sees(viewer, newer) == Sees::Yes)
    }

    /// Whether both are of one series.
    pub(crate) fn is_same_series(&self, position: Place, other: Place) -> bool {
        let (one, other) = (self.record(position), self.record(other));
        one.latest.is_some() && one.latest == other.latest && one.audience == other.audience
    }

    fn newer(&self, position: Place, until: Place) -> impl Iterator<Item = Place> {
        (position + 1..=until).filter(move |newer| self.is_same_series(position, *newer))
    }
}
