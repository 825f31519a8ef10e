use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::group::Group;
use super::{Connection, Sight};
use crate::membership::Memberships;
use crate::{ConnectionId, Frame, Position, Scope};

/// The hub's tables; every change keeps them consistent with each other.
pub(super) struct Index<F> {
    all: Group<F>,
    tenants: HashMap<Arc<str>, Group<F>>,
    users: HashMap<Arc<str>, User<F>>,
    /// Members of now, by either way of being in: entered by the connection, or joined by its user.
    rooms: HashMap<Arc<str>, Group<F>>,
    /// The rooms each connection entered itself (only those that entered one): the way back from a connection to its rooms.
    entered: HashMap<ConnectionId, Memberships>,
}

struct User<F> {
    connections: Group<F>,
    rooms: Memberships,
    offline_since: Option<Instant>,
}

/// Counts of now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) connections: usize,
    pub(crate) users: usize,
    pub(crate) rooms: usize,
    pub(crate) behind: usize,
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

    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) {
        self.all.insert(connection);
        let identity = &connection.info.identity;
        if let Some(tenant) = identity.shared_tenant() {
            self.tenants.entry(Arc::clone(tenant)).or_default().insert(connection);
        }
        if let Some(name) = identity.shared_user() {
            let user = self.users.entry(Arc::clone(name)).or_insert_with(User::new);
            user.offline_since = None;
            user.connections.insert(connection);
            for room in user.rooms.current() {
                self.rooms.entry(Arc::clone(room)).or_default().insert(connection);
            }
        }
    }

    pub(super) fn remove(&mut self, connection: &Connection<F>, now: Instant) -> bool {
        let id = connection.info.id;
        if !self.all.remove(id) {
            return false;
        }
        let identity = &connection.info.identity;
        if let Some(tenant) = identity.tenant_name() {
            remove_from(&mut self.tenants, tenant, id);
        }
        if let Some(name) = identity.user_name()
            && let Some(user) = self.users.get_mut(name)
        {
            user.connections.remove(id);
            for room in user.rooms.current() {
                remove_from(&mut self.rooms, room, id);
            }
            if user.connections.is_empty() {
                user.offline_since = Some(now);
                if user.rooms.is_empty() {
                    self.users.remove(name);
                }
            }
        }
        if let Some(rooms) = self.entered.remove(&id) {
            for room in rooms.current() {
                remove_from(&mut self.rooms, room, id);
            }
        }
        true
    }

    pub(super) fn enter(&mut self, id: ConnectionId, room: &Arc<str>, at: Position) -> bool {
        let Some(connection) = self.all.find(id) else { return false };
        let entered = self.entered.entry(id).or_default().enter(room, at);
        self.rooms.entry(Arc::clone(room)).or_default().insert(connection);
        entered
    }

    pub(super) fn entered(&self, id: ConnectionId) -> usize {
        self.entered.get(&id).map_or(0, Memberships::len)
    }

    pub(super) fn leave(&mut self, id: ConnectionId, room: &str, at: Position) -> bool {
        let left = self.entered.get_mut(&id).is_some_and(|rooms| rooms.leave(room, at));
        let joined = self
            .all
            .find(id)
            .and_then(|connection| self.users.get(connection.info.identity.user_name()?))
            .is_some_and(|user| user.rooms.is_in(room));
        if left && !joined {
            remove_from(&mut self.rooms, room, id);
        }
        left
    }

    pub(super) fn is_in(&self, id: ConnectionId, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|members| members.find(id).is_some())
    }

    pub(super) fn join_user(&mut self, name: &Arc<str>, room: &Arc<str>, at: Position, now: Instant) {
        let user = self.users.entry(Arc::clone(name)).or_insert_with(User::new);
        if user.connections.is_empty() && user.rooms.current().next().is_none() {
            // Nothing of before is left that could have ended by absence: it begins now.
            user.offline_since = Some(now);
        }
        user.rooms.enter(room, at);
        if user.connections.is_empty() {
            return;
        }
        let members = self.rooms.entry(Arc::clone(room)).or_default();
        for connection in user.connections.iter() {
            members.insert(connection);
        }
    }

    /// Takes a user's connections out of a room, by whichever way each of them was in.
    pub(super) fn leave_user(&mut self, name: &str, room: &str, at: Position) {
        let Some(user) = self.users.get_mut(name) else { return };
        user.rooms.leave(room, at);
        for connection in user.connections.iter() {
            let id = connection.info.id;
            if let Some(entered) = self.entered.get_mut(&id) {
                entered.leave(room, at);
            }
            remove_from(&mut self.rooms, room, id);
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

    pub(super) fn sight(&self, connection: &Connection<F>, end: Position) -> Sight {
        let identity = &connection.info.identity;
        let user = identity.user_name().and_then(|name| self.users.get(name));
        Sight {
            id: connection.info.id,
            identity: identity.clone(),
            own: self.entered.get(&connection.info.id).cloned().unwrap_or_default(),
            joined: user.map(|user| user.rooms.clone()).unwrap_or_default(),
            born: connection.born,
            end,
        }
    }

    /// The rooms a user was joined to, and those that the user's connections of this node entered themselves.
    pub(super) fn user_rooms(&self, name: &str) -> Vec<String> {
        let Some(user) = self.users.get(name) else { return Vec::new() };
        let entered = user.connections.iter().filter_map(|connection| self.entered.get(&connection.info.id));
        let rooms: BTreeSet<&str> =
            entered.chain([&user.rooms]).flat_map(|rooms| rooms.current()).map(AsRef::as_ref).collect();
        rooms.into_iter().map(str::to_owned).collect()
    }

    /// Ends the memberships of users who have been away for longer than this, as of now (`applied`): what their rooms were
    /// sent before is still for them. Then forgets what nobody can read any more.
    pub(super) fn forget(&mut self, start: Position, applied: Position, offline_for: Duration, now: Instant) {
        self.users.retain(|_, user| {
            let offline = user.connections.is_empty();
            if offline && user.offline_since.is_none_or(|since| now.saturating_duration_since(since) > offline_for) {
                user.rooms.leave_all(applied);
            }
            user.rooms.forget_before(start);
            !offline || !user.rooms.is_empty()
        });
        self.entered.values_mut().for_each(|rooms| rooms.forget_before(start));
    }

    /// In a new epoch the positions of before mean nothing, so joins of before are gone.
    pub(super) fn forget_memberships(&mut self) {
        let users: Vec<(Arc<str>, Vec<Arc<str>>)> =
            self.users.iter().map(|(name, user)| (Arc::clone(name), user.rooms.current().cloned().collect())).collect();
        for (name, rooms) in users {
            for room in rooms {
                self.leave_user(&name, &room, Position::START);
            }
        }
        self.users.retain(|_, user| {
            user.rooms = Memberships::default();
            !user.connections.is_empty()
        });
    }

    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            connections: self.all.len(),
            users: self.users.values().filter(|user| !user.connections.is_empty()).count(),
            rooms: self.rooms.len(),
            behind: 0,
        }
    }
}

impl<F> User<F> {
    fn new() -> Self {
        Self { connections: Group::default(), rooms: Memberships::default(), offline_since: None }
    }
}

/// Takes a connection out of a group, and the group out of the table when it is empty.
fn remove_from<F>(groups: &mut HashMap<Arc<str>, Group<F>>, name: &str, id: ConnectionId) {
    if let Some(group) = groups.get_mut(name) {
        group.remove(id);
        if group.is_empty() {
            groups.remove(name);
        }
    }
}
