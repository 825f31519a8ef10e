use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::group::Group;
use super::joined::JoinedRooms;
use crate::delivery::connection::Connection;
use crate::delivery::membership::Memberships;
use crate::values::position::Position;

/// The connections and rooms of one user name, over all tenants and for each of them.
///
/// A bare name means the user in every tenant, so most of it is shared. A user without a tenant has
/// nothing in addition, because no call can name it alone.
pub(super) struct User<F> {
    pub(super) connections: Group<F>,
    /// The rooms joined by the bare name.
    pub(super) bare: JoinedRooms,
    tenants: HashMap<Arc<str>, Box<Tenant>>,
}

/// The part that holds for one tenant's user only, in addition to that of the bare name.
#[derive(Default)]
struct Tenant {
    /// The number of connections of this tenant.
    online: usize,
    /// The rooms joined with the tenant.
    own: JoinedRooms,
    /// The rooms joined by the bare name from which this tenant's user alone was removed.
    shut_out: Memberships,
}

/// A user's joins for the connections of one tenant, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    bare: Memberships,
    own: Memberships,
    shut_out: Memberships,
}

impl<F> Default for User<F> {
    fn default() -> Self {
        Self { connections: Group::default(), bare: JoinedRooms::default(), tenants: HashMap::new() }
    }
}

impl<F> User<F> {
    /// Adds a connection; returns whether a question is to be answered for the bare name, and for
    /// the connection's tenant.
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) -> [bool; 2] {
        self.connections.insert(connection);
        let of_bare = self.bare.set_online();
        let Some(tenant) = connection.info.identity.shared_tenant() else { return [of_bare, false] };
        let tenant = self.tenants.entry(Arc::clone(tenant)).or_default();
        tenant.online += 1;
        [of_bare, tenant.own.set_online()]
    }

    /// Returns whether a connection is registered for which the rooms of the bare name, or those of
    /// a tenant, hold, or the last one left this node less than `age` ago; if not, notes the
    /// question at this position.
    pub(super) fn check(&mut self, tenant: Option<&str>, position: Position, age: Duration, now: Instant) -> bool {
        if self.is_online(tenant) {
            return true;
        }
        let Some(joined) = self.joined_by(tenant) else { return false };
        if joined.left_within(age, now) {
            return true;
        }
        joined.check(position, now);
        false
    }

    /// Notes that a node has a connection, or had one less than `age` ago: the absence begins anew,
    /// except on the node that saw it leave.
    pub(super) fn confirm(&mut self, tenant: Option<&str>, position: Position, age: Duration, now: Instant) {
        self.joined_by(tenant).into_iter().for_each(|joined| joined.confirm(position, age, now));
    }

    /// Restarts the absence of all connections, as seen from this node.
    pub(super) fn restart_absence(&mut self, now: Instant) {
        let of_tenants = self.tenants.values_mut().map(|tenant| &mut tenant.own);
        std::iter::once(&mut self.bare).chain(of_tenants).for_each(|joined| joined.restart_absence(now));
    }

    /// Removes a connection; returns whether nothing is left to keep.
    pub(super) fn remove(&mut self, connection: &Connection<F>, now: Instant) -> bool {
        self.connections.remove(connection.info.id);
        if self.connections.is_empty() {
            self.bare.set_offline(now);
        }
        if let Some(name) = connection.info.identity.tenant_name()
            && let Some(tenant) = self.tenants.get_mut(name)
        {
            tenant.online -= 1;
            if tenant.online == 0 {
                tenant.own.set_offline(now);
                if tenant.is_empty() {
                    self.tenants.remove(name);
                }
            }
        }
        self.is_empty()
    }

    /// Returns the connections that a name means: all of them, or those of one tenant.
    pub(super) fn connections_in(&self, tenant: Option<&str>) -> impl Iterator<Item = &Arc<Connection<F>>> {
        let is_meant = move |connection: &&Arc<Connection<F>>| {
            tenant.is_none_or(|tenant| connection.info.identity.tenant_name() == Some(tenant))
        };
        self.connections.iter().filter(is_meant)
    }

    /// Joins a room, in every tenant or in one.
    pub(super) fn join(&mut self, tenant: Option<&Arc<str>>, room: &Arc<str>, at: Position, ours: bool, now: Instant) {
        let Some(name) = tenant else {
            self.bare.join(room, at, self.connections.is_empty().then_some(ours), now);
            for tenant in self.tenants.values_mut() {
                tenant.shut_out.leave(room, at);
            }
            return;
        };
        let tenant = self.tenants.entry(Arc::clone(name)).or_default();
        tenant.own.join(room, at, (tenant.online == 0).then_some(ours), now);
        tenant.shut_out.leave(room, at);
    }

    /// Leaves a room: by the bare name in every tenant, however it was joined; with a tenant for
    /// that tenant's user alone.
    pub(super) fn leave(&mut self, tenant: Option<&Arc<str>>, room: &Arc<str>, at: Position) {
        let Some(name) = tenant else {
            self.bare.leave(room, at);
            for tenant in self.tenants.values_mut() {
                tenant.own.rooms.leave(room, at);
                tenant.shut_out.leave(room, at);
            }
            return;
        };
        let tenant = self.tenants.entry(Arc::clone(name)).or_default();
        tenant.own.leave(room, at);
        if self.bare.rooms.is_in(room) {
            tenant.shut_out.enter(room, at);
        }
    }

    /// Returns the last leave by which this tenant's user, or the one without a tenant, was removed
    /// from a room.
    pub(super) fn left(&self, tenant: Option<&str>, room: &str) -> Option<Position> {
        let of_tenant = self.tenant(tenant).and_then(|tenant| tenant.own.left.get(room));
        of_tenant.max(self.bare.left.get(room)).copied()
    }

    /// Returns whether this tenant's user, or the one without a tenant, is joined to a room.
    pub(super) fn is_joined(&self, tenant: Option<&str>, room: &str) -> bool {
        let tenant = self.tenant(tenant);
        tenant.is_some_and(|tenant| tenant.own.rooms.is_in(room))
            || self.bare.rooms.is_in(room) && !tenant.is_some_and(|tenant| tenant.shut_out.is_in(room))
    }

    /// Returns the rooms that this tenant's user, or the one without a tenant, is joined to; some
    /// may come twice.
    pub(super) fn joined_rooms(&self, tenant: Option<&str>) -> impl Iterator<Item = &Arc<str>> {
        let tenant = self.tenant(tenant);
        let is_shut_out = move |room: &str| tenant.is_some_and(|tenant| tenant.shut_out.is_in(room));
        let bare = self.bare.rooms.current().filter(move |room| !is_shut_out(room));
        tenant.into_iter().flat_map(|tenant| tenant.own.rooms.current()).chain(bare)
    }

    /// Returns the tenants in which the user is joined to a room; `None` for the bare name, which
    /// means all tenants.
    pub(super) fn tenants_in(&self, room: &str) -> impl Iterator<Item = Option<&Arc<str>>> {
        let bare = self.bare.rooms.is_in(room).then_some(None);
        let of_tenants = self.tenants.iter().filter(|(_, tenant)| tenant.own.rooms.is_in(room));
        bare.into_iter().chain(of_tenants.map(|(name, _)| Some(name)))
    }

    /// Returns the rooms that the user is joined to in any tenant; some may come twice.
    pub(super) fn all_joined_rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        let of_tenants = self.tenants.values().flat_map(|tenant| tenant.own.rooms.current());
        self.bare.rooms.current().chain(of_tenants)
    }

    pub(super) fn joined(&self, tenant: Option<&str>) -> Joined {
        let (own, shut_out) =
            self.tenant(tenant).map(|tenant| (tenant.own.rooms.clone(), tenant.shut_out.clone())).unwrap_or_default();
        Joined { bare: self.bare.rooms.clone(), own, shut_out }
    }

    /// Ends by absence, at the position `at`, the rooms that were joined up to `seen`, by the bare
    /// name or with a tenant; returns those that ended.
    pub(super) fn end(&mut self, tenant: Option<&str>, seen: Position, at: Position, now: Instant) -> Vec<Arc<str>> {
        let Some(joined) = self.joined_by(tenant) else { return Vec::new() };
        let rooms = joined.end(seen, at, now);
        if tenant.is_none() {
            for tenant in self.tenants.values_mut() {
                for room in &rooms {
                    tenant.shut_out.leave(room, at);
                }
            }
        }
        rooms
    }

    /// Returns the position before which cursors are expired for this tenant's user, or the one
    /// without a tenant.
    pub(super) fn ended(&self, tenant: Option<&str>) -> Option<Position> {
        self.tenant(tenant).and_then(|tenant| tenant.own.ended).max(self.bare.ended)
    }

    /// Returns the rooms joined by the bare name, or with a tenant, if no connection is registered
    /// for which they hold.
    pub(super) fn absent(&mut self, tenant: Option<&str>) -> Option<&mut JoinedRooms> {
        if self.is_online(tenant) { None } else { self.joined_by(tenant) }
    }

    fn is_online(&self, tenant: Option<&str>) -> bool {
        match tenant {
            None => !self.connections.is_empty(),
            Some(name) => self.tenants.get(name).is_some_and(|tenant| tenant.online > 0),
        }
    }

    /// Forgets the memberships that no reader of the window needs any more, and calls `absent` with
    /// the rooms for which no connection is registered; returns whether nothing is left to keep.
    pub(super) fn forget(&mut self, start: Position, mut absent: impl FnMut(&JoinedRooms, Option<&Arc<str>>)) -> bool {
        self.bare.forget_before(start);
        if self.connections.is_empty() {
            absent(&self.bare, None);
        }
        self.tenants.retain(|name, tenant| {
            tenant.own.forget_before(start);
            tenant.shut_out.forget_before(start);
            if tenant.online == 0 {
                absent(&tenant.own, Some(name));
            }
            !tenant.is_empty()
        });
        self.is_empty()
    }

    /// Forgets every room as if the user had never been in one; returns the rooms that the user was
    /// in.
    pub(super) fn forget_rooms(&mut self) -> Vec<Arc<str>> {
        let rooms = self.all_joined_rooms().cloned().collect();
        self.bare.forget_all();
        self.tenants.retain(|_, tenant| {
            tenant.own.forget_all();
            tenant.shut_out = Memberships::default();
            !tenant.is_empty()
        });
        rooms
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.bare.is_empty() && self.tenants.is_empty()
    }

    fn joined_by(&mut self, tenant: Option<&str>) -> Option<&mut JoinedRooms> {
        match tenant {
            None => Some(&mut self.bare),
            Some(name) => self.tenants.get_mut(name).map(|tenant| &mut tenant.own),
        }
    }

    fn tenant(&self, name: Option<&str>) -> Option<&Tenant> {
        self.tenants.get(name?).map(|tenant| &**tenant)
    }
}

impl Tenant {
    fn is_empty(&self) -> bool {
        self.online == 0 && self.own.is_empty() && self.shut_out.is_empty()
    }
}

impl Joined {
    /// Returns every room with a membership, past ones included, except those of another list.
    pub(crate) fn known<'a>(&'a self, except: &'a Memberships) -> impl Iterator<Item = &'a Arc<str>> {
        let bare = self.bare.known().filter(|room| !except.knows(room));
        let own = self.own.known().filter(|room| !except.knows(room) && !self.bare.knows(room));
        bare.chain(own)
    }

    /// Returns whether the user was a member when this record was appended.
    pub(crate) fn was_in(&self, room: &str, position: Position) -> bool {
        self.own.was_in(room, position) || self.bare.was_in(room, position) && !self.shut_out.was_in(room, position)
    }
}
