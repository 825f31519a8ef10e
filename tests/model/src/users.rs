//! Users by name: the rooms that joins and leaves have led to, and since when a user has no
//! connections.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{LATE, Position};
use crate::log_spy::Absence;
use crate::rooms::{Rooms, Visibility};
use crate::schedule::{Id, Identity, Member};

/// The users by name.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<Id, User>);

#[derive(Debug, Default)]
struct User {
    /// The rooms joined by the bare name, which holds in every tenant.
    bare: Standing,
    tenants: BTreeMap<Id, OfTenant>,
}

/// The part of one tenant's user.
#[derive(Debug, Default)]
struct OfTenant {
    own: Standing,
    /// The rooms that it alone has left, whatever the bare name was joined to.
    shut_out: Rooms,
}

#[derive(Debug, Default)]
struct Standing {
    rooms: Rooms,
    /// Every leave, with its room.
    left: Vec<(Position, Id)>,
    online: usize,
    /// The time at which the last connection closed, at the earliest and at the latest.
    offline: Option<(Instant, Instant)>,
    /// The time since which this process has been the first to end the rooms: it has seen the last
    /// connection go, or made a join while there was none.
    ours: Option<Instant>,
    /// The positions of the records that have ended rooms by absence.
    ended: Vec<Position>,
}

/// The factor by which a process waits longer that has not seen the last connection close.
const PATIENCE: u32 = 3;

impl Standing {
    fn join(&mut self, room: Id, position: Position, ours: bool, now: Instant) {
        if self.online == 0 {
            // A user without any room may have been forgotten and started again.
            let earliest = self.offline.map_or(now, |(earliest, _)| earliest);
            let latest = if self.rooms.is_in_any() { self.offline.map_or(now, |(_, latest)| latest) } else { now };
            self.offline = Some((earliest, latest));
            self.ours = self.ours.or(ours.then_some(now));
        }
        self.rooms.enter(room, position, position);
    }

    fn leave(&mut self, room: Id, position: Position) {
        self.rooms.leave(room, position, position);
        self.left.push((position, room));
    }

    fn connected(&mut self) {
        self.online += 1;
        self.offline = None;
        self.ours = None;
    }

    fn disconnected(&mut self, now: Instant) {
        self.online -= 1;
        if self.online == 0 {
            self.offline = Some((now, now));
            self.ours = Some(now);
        }
    }

    /// Ends the stays in rooms that were joined up to a position, by absence.
    fn end(&mut self, seen: Position, position: Position, now: Instant) {
        if self.rooms.leave_entered_by(seen, position) {
            self.ended.push(position);
            self.offline = self.offline.map(|_| (now, now));
        }
    }

    /// Returns the state for a process that has just begun to read the log and knows nothing yet;
    /// `alone` if there are no connections any more.
    fn restarted(&self, alone: bool, now: Instant) -> Self {
        let online = if alone { 0 } else { self.online };
        let earliest = self.offline.map_or(now, |(earliest, _)| earliest);
        Self { online, offline: (online == 0).then_some((earliest, now)), ..Self::default() }
    }
}

impl Users {
    pub(crate) fn join(&mut self, member: Member, room: Id, position: Position, ours: bool, now: Instant) {
        let user = self.0.entry(member.user).or_default();
        let Some(tenant) = member.tenant else {
            user.bare.join(room, position, ours, now);
            for of_tenant in user.tenants.values_mut() {
                of_tenant.shut_out.leave(room, position, position);
            }
            return;
        };
        let of_tenant = user.tenants.entry(tenant).or_default();
        of_tenant.own.join(room, position, ours, now);
        of_tenant.shut_out.leave(room, position, position);
    }

    /// Leaves a room; returns whether that shuts a tenant's user out of a membership of the bare
    /// name.
    pub(crate) fn leave(&mut self, member: Member, room: Id, position: Position) -> bool {
        let user = self.0.entry(member.user).or_default();
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

    /// Returns the position of the last leave, up to this position, by which the server has removed
    /// a user from a room.
    pub(crate) fn left(&self, identity: Identity, room: Id, by: Position) -> Position {
        let leaves = self.standings_of(identity).flat_map(|standing| &standing.left);
        leaves
            .filter(|(position, of)| *of == room && *position <= by)
            .map(|(position, _)| *position)
            .max()
            .unwrap_or_default()
    }

    /// Counts a new connection of an identity.
    pub(crate) fn connected(&mut self, identity: Identity) {
        self.standings(identity).for_each(Standing::connected);
    }

    /// Counts a connection of an identity that is gone.
    pub(crate) fn disconnected(&mut self, identity: Identity, now: Instant) {
        self.standings(identity).for_each(|standing| standing.disconnected(now));
    }

    /// Returns the parts of the bare name and of its tenant.
    fn standings(&mut self, identity: Identity) -> impl Iterator<Item = &mut Standing> {
        let user = identity.user.map(|user| self.0.entry(user).or_default());
        user.into_iter().flat_map(move |User { bare, tenants }| {
            let of_tenant = identity.tenant.map(|tenant| &mut tenants.entry(tenant).or_default().own);
            std::iter::once(bare).chain(of_tenant)
        })
    }

    /// Returns those of them that are known.
    fn standings_of(&self, identity: Identity) -> impl Iterator<Item = &Standing> {
        let user = identity.user.and_then(|user| self.0.get(&user));
        user.into_iter().flat_map(move |User { bare, tenants }| {
            let of_tenant = identity.tenant.and_then(|tenant| tenants.get(&tenant)).map(|of_tenant| &of_tenant.own);
            std::iter::once(bare).chain(of_tenant)
        })
    }

    /// Ends a user's rooms by absence.
    pub(crate) fn end(&mut self, absence: &Absence) {
        self.standing(absence.member).end(absence.seen, absence.position, absence.at);
    }

    /// Checks that a user has been absent for longer than `age`, so that its rooms may end.
    pub(crate) fn check_end(&mut self, absence: &Absence, age: Duration) -> Result<(), String> {
        match self.standing(absence.member).offline {
            Some((earliest, _)) if absence.at - earliest <= age => Err(format!("too early: {absence:?}")),
            _ => Ok(()),
        }
    }

    fn standing(&mut self, member: Member) -> &mut Standing {
        let user = self.0.entry(member.user).or_default();
        match member.tenant {
            None => &mut user.bare,
            Some(tenant) => &mut user.tenants.entry(tenant).or_default().own,
        }
    }

    /// Returns the last position, up to this one, at which an identity's rooms have ended by
    /// absence.
    pub(crate) fn ended(&self, identity: Identity, by: Position) -> Position {
        let positions = self.standings_of(identity).flat_map(|standing| &standing.ended);
        positions.copied().filter(|position| *position <= by).max().unwrap_or_default()
    }

    /// Checks that no user who has been away for longer than the window's age is still a member.
    pub(crate) fn check_absent(&self, age: Duration, now: Instant) -> Result<(), String> {
        for (user, User { bare, tenants }) in &self.0 {
            for standing in std::iter::once(bare).chain(tenants.values().map(|of_tenant| &of_tenant.own)) {
                let due = standing.offline.map(|(_, latest)| match standing.ours {
                    Some(since) => since.max(latest + age),
                    None => latest + age * PATIENCE,
                });
                let is_over = due.is_some_and(|due| now > due + LATE);
                if is_over && standing.rooms.is_in_any() {
                    return Err(format!("nothing has ended the rooms of user {user}, who is absent: {standing:?}"));
                }
            }
        }
        Ok(())
    }

    /// Returns whether an identity was joined to a room when the record at this position was
    /// logged.
    pub(crate) fn is_joined(&self, identity: Identity, room: Id, position: Position) -> Visibility {
        let Some(user) = identity.user.and_then(|user| self.0.get(&user)) else { return Visibility::No };
        let bare = user.bare.rooms.sees(room, position);
        let Some(of_tenant) = identity.tenant.and_then(|tenant| user.tenants.get(&tenant)) else { return bare };
        bare.min(of_tenant.shut_out.sees(room, position).not()).max(of_tenant.own.rooms.sees(room, position))
    }

    /// Returns the state for a process that begins to read a log: the connections, but no rooms;
    /// `alone` if there are no connections.
    pub(crate) fn restarted(&self, alone: bool, now: Instant) -> Self {
        let users = self.0.iter().map(|(user, User { bare, tenants })| {
            let tenants = tenants.iter().map(|(tenant, of_tenant)| {
                (*tenant, OfTenant { own: of_tenant.own.restarted(alone, now), shut_out: Rooms::default() })
            });
            (*user, User { bare: bare.restarted(alone, now), tenants: tenants.collect() })
        });
        Self(users.collect())
    }
}
