use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::Connection;
use super::group::Group;
use crate::delivery::membership::Memberships;
use crate::values::position::Position;

/// What is kept under one user's name: its connections and rooms, those of all tenants and those of each.
///
/// A bare name means the user in every tenant, so most of it is shared. A user without a tenant has nothing beside that,
/// because no call can name it alone.
pub(super) struct User<F> {
    pub(super) connections: Group<F>,
    /// What was joined by the bare name.
    pub(super) bare: Standing,
    tenants: HashMap<Arc<str>, Box<Tenant>>,
}

/// What one tenant's user has beside what holds for the bare name.
#[derive(Default)]
struct Tenant {
    /// How many of the connections are its own.
    online: usize,
    /// What was joined with the tenant.
    own: Standing,
    /// The rooms joined by the bare name that it was taken out of alone.
    shut_out: Memberships,
}

/// The rooms that joins of one kind have led to.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) rooms: Memberships,
    /// The last time that the server took these users out of a room, for as long as the window reaches back: who names the
    /// room again gets nothing of before.
    left: HashMap<Arc<str>, Position>,
    /// Since when nobody is here for whom these rooms hold.
    offline_since: Option<Instant>,
    /// Whether this node saw the last one go, or made the join if there never was one: it is the first to say that they are
    /// absent.
    ours: bool,
    /// When it was last said that they are absent, if the record has not come back yet.
    said: Option<Instant>,
    /// The last record that ended rooms by absence: for these users places of before are expired.
    ended: Option<Position>,
}

/// When other nodes than the one that saw the last connection go say that a user is absent, in multiples of the time: that one
/// may be gone.
const PATIENCE: u32 = 3;
/// When it is said once more, if the record has not come back.
const AGAIN: Duration = Duration::from_secs(10);

/// What a user's joins mean for the connections of one tenant, as of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    bare: Memberships,
    own: Memberships,
    shut_out: Memberships,
}

impl<F> Default for User<F> {
    fn default() -> Self {
        Self { connections: Group::default(), bare: Standing::default(), tenants: HashMap::new() }
    }
}

impl<F> User<F> {
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) {
        self.connections.insert(connection);
        self.bare.is_here();
        if let Some(tenant) = connection.info.identity.shared_tenant() {
            let tenant = self.tenants.entry(Arc::clone(tenant)).or_default();
            tenant.online += 1;
            tenant.own.is_here();
        }
    }

    /// Takes a connection out; whether there is nothing left to keep.
    pub(super) fn remove(&mut self, connection: &Connection<F>, now: Instant) -> bool {
        self.connections.remove(connection.info.id);
        if self.connections.is_empty() {
            self.bare.is_gone(now);
        }
        if let Some(name) = connection.info.identity.tenant_name()
            && let Some(tenant) = self.tenants.get_mut(name)
        {
            tenant.online -= 1;
            if tenant.online == 0 {
                tenant.own.is_gone(now);
                if tenant.is_empty() {
                    self.tenants.remove(name);
                }
            }
        }
        self.is_empty()
    }

    /// The connections that a name means: all of them, or those of one tenant.
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

    /// Leaves a room: by the bare name whatever has led there, with a tenant so that its user is in it no more.
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

    /// The last leave of a room by which this tenant's user, or the one without a tenant, was taken out of it.
    pub(super) fn left(&self, tenant: Option<&str>, room: &str) -> Option<Position> {
        let of_tenant = self.tenant(tenant).and_then(|tenant| tenant.own.left.get(room));
        of_tenant.max(self.bare.left.get(room)).copied()
    }

    /// Whether this tenant's user, or the one without a tenant, has been joined to a room.
    pub(super) fn is_joined(&self, tenant: Option<&str>, room: &str) -> bool {
        let tenant = self.tenant(tenant);
        tenant.is_some_and(|tenant| tenant.own.rooms.is_in(room))
            || self.bare.rooms.is_in(room) && !tenant.is_some_and(|tenant| tenant.shut_out.is_in(room))
    }

    /// The rooms that this tenant's user, or the one without a tenant, has been joined to; some may come twice.
    pub(super) fn joined_rooms(&self, tenant: Option<&str>) -> impl Iterator<Item = &Arc<str>> {
        let tenant = self.tenant(tenant);
        let is_shut_out = move |room: &str| tenant.is_some_and(|tenant| tenant.shut_out.is_in(room));
        let bare = self.bare.rooms.current().filter(move |room| !is_shut_out(room));
        tenant.into_iter().flat_map(|tenant| tenant.own.rooms.current()).chain(bare)
    }

    /// The rooms that the user has been joined to in any tenant; some may come twice.
    pub(super) fn all_joined_rooms(&self) -> impl Iterator<Item = &Arc<str>> {
        let of_tenants = self.tenants.values().flat_map(|tenant| tenant.own.rooms.current());
        self.bare.rooms.current().chain(of_tenants)
    }

    pub(super) fn joined(&self, tenant: Option<&str>) -> Joined {
        let (own, shut_out) =
            self.tenant(tenant).map(|tenant| (tenant.own.rooms.clone(), tenant.shut_out.clone())).unwrap_or_default();
        Joined { bare: self.bare.rooms.clone(), own, shut_out }
    }

    /// The rooms end by absence, as of this place, that were joined by the bare name, or with a tenant, up to another one; those
    /// that did.
    pub(super) fn end(&mut self, tenant: Option<&str>, seen: Position, at: Position, now: Instant) -> Vec<Arc<str>> {
        let Some(standing) = self.standing(tenant) else { return Vec::new() };
        let rooms = standing.end(seen, at, now);
        if tenant.is_none() {
            for tenant in self.tenants.values_mut() {
                for room in &rooms {
                    tenant.shut_out.leave(room, at);
                }
            }
        }
        rooms
    }

    /// The place before which one is expired for this tenant's user, or the one without a tenant.
    pub(super) fn ended(&self, tenant: Option<&str>) -> Option<Position> {
        self.tenant(tenant).and_then(|tenant| tenant.own.ended).max(self.bare.ended)
    }

    /// What was joined by the bare name, or with a tenant, if nobody is here for whom it holds.
    pub(super) fn absent(&mut self, tenant: Option<&str>) -> Option<&mut Standing> {
        let is_here = match tenant {
            None => !self.connections.is_empty(),
            Some(name) => self.tenants.get(name).is_none_or(|tenant| tenant.online > 0),
        };
        if is_here { None } else { self.standing(tenant) }
    }

    /// Forgets what nobody can read any more, and adds whose rooms should end by absence; whether there is nothing left to keep.
    pub(super) fn forget(&mut self, start: Position, mut absent: impl FnMut(&Standing, Option<&Arc<str>>)) -> bool {
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

    /// Leaves every room, as if it had never been in one; those it was in.
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

    fn standing(&mut self, tenant: Option<&str>) -> Option<&mut Standing> {
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

impl Standing {
    /// `absent` says whether this node made the join, if nobody is here for whom it holds.
    fn join(&mut self, room: &Arc<str>, at: Position, absent: Option<bool>, now: Instant) {
        if let Some(ours) = absent {
            if self.rooms.current().next().is_none() {
                // Nothing of before is left that could have ended by absence: it begins now.
                self.offline_since = Some(now);
                self.said = None;
            }
            self.ours |= ours;
        }
        self.rooms.enter(room, at);
    }

    fn is_here(&mut self) {
        self.offline_since = None;
        self.ours = false;
        self.said = None;
    }

    fn is_gone(&mut self, now: Instant) {
        self.offline_since = Some(now);
        self.ours = true;
    }

    /// Whether rooms should end, since nobody for whom they hold has been here for this long.
    pub(super) fn is_absent(&self, time: Duration, now: Instant) -> bool {
        let time = if self.ours { time } else { time.saturating_mul(PATIENCE) };
        self.rooms.current().next().is_some()
            && self.offline_since.is_some_and(|since| now.saturating_duration_since(since) > time)
            && self.said.is_none_or(|said| now.saturating_duration_since(said) > AGAIN)
    }

    /// It is being said that nobody is here.
    pub(super) fn say(&mut self, now: Instant) {
        self.said = Some(now);
    }

    /// Somebody is at another node: the absence begins now at the earliest, and that node will see it.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.offline_since = Some(now);
        self.ours = false;
    }

    fn end(&mut self, seen: Position, at: Position, now: Instant) -> Vec<Arc<str>> {
        let rooms = self.rooms.leave_entered_by(seen, at);
        if !rooms.is_empty() {
            self.ended = Some(at);
            self.said = None;
            // What was joined meanwhile ends when its own time is over.
            self.offline_since = self.offline_since.map(|_| now);
        }
        rooms
    }

    fn leave(&mut self, room: &Arc<str>, at: Position) {
        self.rooms.leave(room, at);
        self.left.insert(Arc::clone(room), at);
    }

    fn forget_before(&mut self, start: Position) {
        self.rooms.forget_before(start);
        self.left.retain(|_, left| *left > start);
        self.ended = self.ended.filter(|ended| *ended > start);
    }

    fn forget_all(&mut self) {
        self.rooms = Memberships::default();
        self.left = HashMap::new();
        self.ended = None;
    }

    fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.left.is_empty() && self.ended.is_none()
    }
}

impl Joined {
    /// Every room with a time of membership, past ones included, without those of another list.
    pub(crate) fn known<'a>(&'a self, besides: &'a Memberships) -> impl Iterator<Item = &'a Arc<str>> {
        let bare = self.bare.known().filter(|room| !besides.knows(room));
        let own = self.own.known().filter(|room| !besides.knows(room) && !self.bare.knows(room));
        bare.chain(own)
    }

    /// Whether a member when this record was logged.
    pub(crate) fn was_in(&self, room: &str, position: Position) -> bool {
        self.own.was_in(room, position) || self.bare.was_in(room, position) && !self.shut_out.was_in(room, position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_end_by_absence_after_more_than_the_time_and_it_is_said_again_after_more_than_ten_seconds() {
        let (time, instant) = (Duration::from_secs(60), Duration::from_nanos(1));
        for (ours, time_here) in [(true, time), (false, time * PATIENCE)] {
            let joined = Instant::now();
            let mut standing = Standing::default();
            standing.join(&"r".into(), Position::new(1), Some(ours), joined);
            let end = joined + time_here;
            assert!(!standing.is_absent(time, end) && standing.is_absent(time, end + instant), "ours: {ours}");
            standing.say(end);
            assert!(!standing.is_absent(time, end + AGAIN) && standing.is_absent(time, end + AGAIN + instant));
            standing.end(Position::new(1), Position::new(2), end);
            assert!(!standing.is_absent(time, end + time * 10), "there are no rooms any more");
        }
    }
}
