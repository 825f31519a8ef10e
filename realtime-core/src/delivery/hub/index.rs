use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::group::Group;
use super::joined::{AbsenceTimes, JoinedRooms};
use super::user::User;
use super::visibility::Visibility;
use crate::delivery::connection::Connection;
use crate::delivery::membership::Memberships;
use crate::delivery::outbox::Snapshot;
use crate::log::room_table::RoomChange;
use crate::traits::codec::Frame;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::target::Scope;

/// The hub's tables; every change keeps them consistent with each other.
pub(super) struct Index<F> {
    all: Group<F>,
    tenants: HashMap<Arc<str>, Group<F>>,
    users: HashMap<Arc<str>, User<F>>,
    /// The current members: connections that entered the room themselves, or whose users were
    /// joined to it.
    rooms: HashMap<Arc<str>, Group<F>>,
    /// The rooms that each connection entered itself (only those that entered one): from a
    /// connection back to its rooms.
    entered: HashMap<ConnectionId, Memberships>,
}

/// The number of a connection's stays in rooms that it entered itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stays {
    /// The rooms that the connection is in.
    pub(crate) now: usize,
    /// The stays that are kept, past ones included.
    pub(crate) kept: usize,
    /// `true` if the connection is in the room in question.
    pub(crate) is_in: bool,
}

/// The current counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) users: usize,
    pub(crate) rooms: usize,
    pub(crate) behind: usize,
    /// The number of events that wait in the outboxes; below, of their bytes.
    pub(crate) queued_events: usize,
    pub(crate) queued_bytes: usize,
    /// The longest time that something has waited in one of them.
    pub(crate) waiting: Duration,
}

impl Gauges {
    /// Adds a connection's outbox.
    pub(super) fn with(self, outbox: &Snapshot) -> Self {
        Self {
            behind: self.behind + usize::from(outbox.behind),
            queued_events: self.queued_events + outbox.queued_events,
            queued_bytes: self.queued_bytes + outbox.queued_bytes,
            waiting: self.waiting.max(outbox.waiting),
            ..self
        }
    }
}

impl<F: Frame> Index<F> {
    pub(super) fn new() -> Self {
        Self {
            all: Group::default(),
            tenants: HashMap::new(),
            users: HashMap::new(),
            rooms: HashMap::new(),
            entered: HashMap::new(),
        }
    }

    /// Adds a connection; returns the users for whom another node awaits the answer that they are
    /// connected.
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) -> Vec<Member> {
        self.all.insert(connection);
        let identity = &connection.info.identity;
        if let Some(tenant) = identity.shared_tenant() {
            self.tenants.entry(Arc::clone(tenant)).or_default().insert(connection);
        }
        if let Some(name) = identity.shared_user() {
            let user = self.users.entry(Arc::clone(name)).or_default();
            let [of_bare, of_tenant] = user.insert(connection);
            for room in user.joined_rooms(identity.tenant_name()) {
                self.rooms.entry(Arc::clone(room)).or_default().insert(connection);
            }
            let bare = of_bare.then(|| Member::bare(name));
            return bare.into_iter().chain(Member::of(identity).filter(|_| of_tenant)).collect();
        }
        Vec::new()
    }

    /// Removes a connection; returns the rooms that it entered itself, or `None` if it was not
    /// there.
    pub(super) fn remove(&mut self, connection: &Connection<F>, now: Instant) -> Option<Memberships> {
        let id = connection.info.id;
        if !self.all.remove(id) {
            return None;
        }
        let identity = &connection.info.identity;
        if let Some(tenant) = identity.tenant_name() {
            remove_from(&mut self.tenants, tenant, id);
        }
        if let Some(name) = identity.user_name()
            && let Some(user) = self.users.get_mut(name)
        {
            for room in user.joined_rooms(identity.tenant_name()) {
                remove_from(&mut self.rooms, room, id);
            }
            if user.remove(connection, now) {
                self.users.remove(name);
            }
        }
        let entered = self.entered.remove(&id).unwrap_or_default();
        for room in entered.current() {
            remove_from(&mut self.rooms, room, id);
        }
        Some(entered)
    }

    /// Returns the connections of a user, in any tenant or in one, with the rooms that they entered
    /// themselves.
    pub(super) fn of_user(&self, member: &Member) -> Vec<(Arc<Connection<F>>, Memberships)> {
        let user = self.users.get(&member.user).into_iter();
        let connections = user.flat_map(|user| user.connections_in(member.tenant.as_deref()));
        let entered = |id| self.entered.get(&id).cloned().unwrap_or_default();
        connections.map(|connection| (Arc::clone(connection), entered(connection.info.id))).collect()
    }

    /// Returns whether a user of a tenant, or without one, was joined to a room when this record
    /// was appended.
    pub(super) fn was_joined(&self, member: &Member, room: &str, position: Position) -> bool {
        let user = self.users.get(&member.user);
        user.is_some_and(|user| user.joined(member.tenant.as_deref()).was_in(room, position))
    }

    pub(super) fn enter(&mut self, id: ConnectionId, room: &Arc<str>, at: Position) -> bool {
        let Some(connection) = self.all.find(id) else { return false };
        let entered = self.entered.entry(id).or_default().enter(room, at);
        self.rooms.entry(Arc::clone(room)).or_default().insert(connection);
        entered
    }

    /// Adds a connection to a room whose past it may read: from its own position on, but not before
    /// the last one at which the server removed its user.
    pub(super) fn enter_from(&mut self, connection: &Connection<F>, room: &Arc<str>, from: Position) {
        let identity = &connection.info.identity;
        let user = identity.user_name().and_then(|name| self.users.get(name));
        let left = user.and_then(|user| user.left(identity.tenant_name(), room));
        self.enter(connection.info.id, room, left.map_or(from, |left| left.max(from)));
    }

    pub(super) fn stays(&self, id: ConnectionId, room: &str) -> Stays {
        let none = Stays { now: 0, kept: 0, is_in: false };
        self.entered.get(&id).map_or(none, |rooms| Stays {
            now: rooms.current().count(),
            kept: rooms.len(),
            is_in: rooms.current().any(|current| **current == *room),
        })
    }

    pub(super) fn leave(&mut self, id: ConnectionId, room: &str, at: Position) -> bool {
        let left = self.entered.get_mut(&id).is_some_and(|rooms| rooms.leave(room, at));
        let joined = self.all.find(id).is_some_and(|connection| {
            let identity = &connection.info.identity;
            let user = identity.user_name().and_then(|name| self.users.get(name));
            user.is_some_and(|user| user.is_joined(identity.tenant_name(), room))
        });
        if left && !joined {
            remove_from(&mut self.rooms, room, id);
        }
        left
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Connection<F>>> {
        self.all.find(id)
    }

    /// Returns the rooms that a connection entered itself.
    pub(super) fn entered(&self, id: ConnectionId) -> impl Iterator<Item = &Arc<str>> {
        self.entered.get(&id).into_iter().flat_map(Memberships::current)
    }

    /// Returns whether a user of a tenant, or without a tenant, is joined to a room.
    pub(super) fn is_joined(&self, member: &Member, room: &str) -> bool {
        self.users.get(&member.user).is_some_and(|user| user.is_joined(member.tenant.as_deref(), room))
    }

    /// Returns up to `most` of the users who are joined to a room, in their order, from this one
    /// on; a user who is joined by the bare name has no tenant.
    pub(super) fn members(&self, room: &str, from: Bound<&Member>, most: usize) -> Vec<Member> {
        let joined = self.users.iter().flat_map(|(name, user)| {
            user.tenants_in(room).map(|tenant| Member { user: Arc::clone(name), tenant: tenant.cloned() })
        });
        let mut members: Vec<_> = joined.filter(|member| (from, Bound::Unbounded).contains(member)).collect();
        members.sort_unstable();
        members.truncate(most);
        members
    }

    pub(super) fn is_in(&self, id: ConnectionId, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|members| members.find(id).is_some())
    }

    /// Joins a user to a room, in every tenant or in one.
    pub(super) fn join_user(&mut self, member: &Member, room: &Arc<str>, at: Position, ours: bool, now: Instant) {
        let user = self.users.entry(Arc::clone(&member.user)).or_default();
        user.join(member.tenant.as_ref(), room, at, ours, now);
        for connection in user.connections_in(member.tenant.as_deref()) {
            self.rooms.entry(Arc::clone(room)).or_default().insert(connection);
        }
    }

    /// Removes the connections that a user's name means, in every tenant or in one, from a room,
    /// whether they entered it themselves or their user was joined.
    pub(super) fn leave_user(&mut self, member: &Member, room: &Arc<str>, at: Position) {
        let user = self.users.entry(Arc::clone(&member.user)).or_default();
        user.leave(member.tenant.as_ref(), room, at);
        for connection in user.connections_in(member.tenant.as_deref()) {
            let id = connection.info.id;
            if let Some(entered) = self.entered.get_mut(&id) {
                entered.leave(room, at);
            }
            remove_from(&mut self.rooms, room, id);
        }
    }

    /// Makes a join or a leave again that was made before the log is read.
    pub(super) fn restore(&mut self, change: &RoomChange, now: Instant) {
        let RoomChange { position, member, room, leaves } = change;
        if *leaves {
            self.leave_user(member, room, *position);
        } else {
            self.join_user(member, room, *position, false, now);
        }
    }

    pub(super) fn audience(&mut self, scope: &Scope) -> Arc<[Arc<Connection<F>>]> {
        let group = match scope {
            Scope::All => Some(&mut self.all),
            Scope::Connection(id) => return self.all.find(*id).cloned().into_iter().collect(),
            Scope::Room { name, .. } => self.rooms.get_mut(name),
            Scope::Tenant(name) => self.tenants.get_mut(name),
            Scope::User { name, .. } => self.users.get_mut(name).map(|user| &mut user.connections),
        };
        group.map_or_else(|| Arc::new([]) as Arc<[_]>, Group::list)
    }

    pub(super) fn everyone(&mut self) -> Arc<[Arc<Connection<F>>]> {
        self.all.list()
    }

    pub(super) fn visibility(&self, connection: &Connection<F>, end: Position) -> Visibility {
        let identity = &connection.info.identity;
        let user = identity.user_name().and_then(|name| self.users.get(name));
        Visibility {
            id: connection.info.id,
            former: connection.former,
            identity: identity.clone(),
            own: self.entered.get(&connection.info.id).cloned().unwrap_or_default(),
            joined: user.map(|user| user.joined(identity.tenant_name())).unwrap_or_default(),
            registered_at: connection.registered_at,
            end,
        }
    }

    /// Returns the rooms that a user was joined to, and those that the user's connections to this
    /// node entered themselves: in every tenant or in one.
    pub(super) fn user_rooms(&self, member: &Member) -> Vec<String> {
        let Some(user) = self.users.get(&member.user) else { return Vec::new() };
        let tenant = member.tenant.as_deref();
        let entered = user.connections_in(tenant).filter_map(|connection| self.entered.get(&connection.info.id));
        let mut rooms: BTreeSet<&str> = entered.flat_map(Memberships::current).map(AsRef::as_ref).collect();
        match tenant {
            None => rooms.extend(user.all_joined_rooms().map(AsRef::as_ref)),
            tenant => rooms.extend(user.joined_rooms(tenant).map(AsRef::as_ref)),
        }
        rooms.into_iter().map(str::to_owned).collect()
    }

    /// Ends, at the position `at`, the rooms of an absent user that were joined up to `seen`.
    /// Returns the user's connections that are registered all the same, if any room ended.
    pub(super) fn end(
        &mut self,
        member: &Member,
        seen: Position,
        at: Position,
        now: Instant,
    ) -> Vec<Arc<Connection<F>>> {
        let Some(user) = self.users.get_mut(&member.user) else { return Vec::new() };
        let rooms = user.end(member.tenant.as_deref(), seen, at, now);
        if rooms.is_empty() {
            return Vec::new();
        }
        let here: Vec<_> = user.connections_in(member.tenant.as_deref()).cloned().collect();
        for connection in &here {
            let id = connection.info.id;
            let entered = self.entered.get(&id);
            for room in &rooms {
                let joined = user.is_joined(connection.info.identity.tenant_name(), room);
                if !joined && !entered.is_some_and(|entered| entered.is_in(room)) {
                    remove_from(&mut self.rooms, room, id);
                }
            }
        }
        here
    }

    /// Returns the position before which cursors are expired for this identity, because rooms ended
    /// there by absence.
    pub(super) fn ended(&self, identity: &Identity) -> Option<Position> {
        self.users.get(identity.user_name()?)?.ended(identity.tenant_name())
    }

    /// Returns the rooms that a user was joined to, if no connection of the user is registered.
    pub(super) fn absent(&mut self, member: &Member) -> Option<&mut JoinedRooms> {
        self.users.get_mut(&member.user)?.absent(member.tenant.as_deref())
    }

    /// Notes the question whether any node has a connection of these users; returns those who have
    /// one here, or had one less than `age` ago.
    pub(super) fn check(&mut self, members: &[Member], position: Position, age: Duration, now: Instant) -> Vec<Member> {
        let mut is_here = |member: &&Member| {
            let user = self.users.get_mut(&member.user);
            user.is_some_and(|user| user.check(member.tenant.as_deref(), position, age, now))
        };
        members.iter().filter(|member| is_here(member)).cloned().collect()
    }

    /// Notes that a node has a connection of a user, or had one less than `age` ago.
    pub(super) fn confirm(&mut self, member: &Member, position: Position, age: Duration, now: Instant) {
        if let Some(user) = self.users.get_mut(&member.user) {
            user.confirm(member.tenant.as_deref(), position, age, now);
        }
    }

    /// Restarts the absence of every user.
    pub(super) fn restart_absences(&mut self, now: Instant) {
        self.users.values_mut().for_each(|user| user.restart_absence(now));
    }

    /// Forgets the memberships that no reader of the window needs any more. Returns up to `most`
    /// users for whose absence a record is due.
    pub(super) fn forget(&mut self, start: Position, times: AbsenceTimes, now: Instant, most: usize) -> Vec<Member> {
        let mut absent = Vec::new();
        self.users.retain(|name, user| {
            !user.forget(start, |joined, tenant| {
                if absent.len() < most && joined.absence(times, now).is_some() {
                    absent.push(Member { user: Arc::clone(name), tenant: tenant.cloned() });
                }
            })
        });
        self.entered.values_mut().for_each(|rooms| rooms.forget_before(start));
        absent.sort_unstable();
        absent
    }

    /// Forgets all joins of users: their positions mean nothing in a new epoch.
    pub(super) fn forget_memberships(&mut self) {
        for user in self.users.values_mut() {
            for room in user.forget_rooms() {
                for connection in user.connections.iter() {
                    let id = connection.info.id;
                    if let Some(entered) = self.entered.get_mut(&id) {
                        entered.leave(&room, Position::START);
                    }
                    remove_from(&mut self.rooms, &room, id);
                }
            }
        }
        self.users.retain(|_, user| !user.is_empty());
    }

    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.all.len(),
            users: self.users.values().filter(|user| !user.connections.is_empty()).count(),
            rooms: self.rooms.len(),
            ..Gauges::default()
        }
    }
}

/// Removes a connection from a group, and the group from the table when it is empty.
fn remove_from<F>(groups: &mut HashMap<Arc<str>, Group<F>>, name: &str, id: ConnectionId) {
    if let Some(group) = groups.get_mut(name) {
        group.remove(id);
        if group.is_empty() {
            groups.remove(name);
        }
    }
}
