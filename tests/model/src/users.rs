//! What is known of users' names: the rooms that joins and leaves have led to, and since when nobody is there.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::log::{LATE, Position};
use crate::log_spy::Absence;
use crate::rooms::{Rooms, Visibility};
use crate::schedule::{Id, Identity, Member};

/// Users by name.
#[derive(Debug, Default)]
pub(crate) struct Users(BTreeMap<Id, User>);

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
    left: Vec<(Position, Id)>,
    online: usize,
    /// When the last connection went, at the earliest and at the latest.
    offline: Option<(Instant, Instant)>,
    /// Since when this process has been the first to end the rooms: it has seen the last connection go, or made a join while
    /// nobody was there.
    ours: Option<Instant>,
    /// The records that have ended rooms by absence.
    ended: Vec<Position>,
}

/// How many times as long a process waits that has not seen the last connection go.
const PATIENCE: u32 = 3;

impl Standing {
    fn join(&mut self, room: Id, position: Position, ours: bool, now: Instant) {
        if self.online == 0 {
            // A user without any room may have been forgotten and come anew.
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

    fn came(&mut self) {
        self.online += 1;
        self.offline = None;
        self.ours = None;
    }

    fn went(&mut self, now: Instant) {
        self.online -= 1;
        if self.online == 0 {
            self.offline = Some((now, now));
            self.ours = Some(now);
        }
    }

    /// The rooms that were joined up to a position end by absence.
    fn end(&mut self, seen: Position, position: Position, now: Instant) {
        if self.rooms.leave_entered_by(seen, position) {
            self.ended.push(position);
            self.offline = self.offline.map(|_| (now, now));
        }
    }

    /// As a process sees it that has just taken up the log and knows nothing yet; `alone` if there are no connections any
    /// more.
    fn anew(&self, alone: bool, now: Instant) -> Self {
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

    /// Whether somebody is shut out of a membership of the bare name.
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

    /// The position of the last leave, up to this position, by which the server has taken someone out of a room.
    pub(crate) fn left(&self, identity: Identity, room: Id, by: Position) -> Position {
        let leaves = self.standings_of(identity).flat_map(|standing| &standing.left);
        leaves
            .filter(|(position, of)| *of == room && *position <= by)
            .map(|(position, _)| *position)
            .max()
            .unwrap_or_default()
    }

    /// A connection of someone is there.
    pub(crate) fn came(&mut self, identity: Identity) {
        self.standings(identity).for_each(Standing::came);
    }

    /// A connection of someone is gone.
    pub(crate) fn went(&mut self, identity: Identity, now: Instant) {
        self.standings(identity).for_each(|standing| standing.went(now));
    }

    /// The bare name's and its tenant's.
    fn standings(&mut self, identity: Identity) -> impl Iterator<Item = &mut Standing> {
        let user = identity.user.map(|user| self.0.entry(user).or_default());
        user.into_iter().flat_map(move |User { bare, tenants }| {
            let of_tenant = identity.tenant.map(|tenant| &mut tenants.entry(tenant).or_default().own);
            std::iter::once(bare).chain(of_tenant)
        })
    }

    /// Those of them that are known.
    fn standings_of(&self, identity: Identity) -> impl Iterator<Item = &Standing> {
        let user = identity.user.and_then(|user| self.0.get(&user));
        user.into_iter().flat_map(move |User { bare, tenants }| {
            let of_tenant = identity.tenant.and_then(|tenant| tenants.get(&tenant)).map(|of_tenant| &of_tenant.own);
            std::iter::once(bare).chain(of_tenant)
        })
    }

    /// A user's rooms have ended by absence.
    pub(crate) fn end(&mut self, ended: &Absence) {
        self.standing(ended.member).end(ended.seen, ended.position, ended.at);
    }

    /// Whether a user has been absent for longer than this, so that its rooms may end.
    pub(crate) fn check_end(&mut self, ended: &Absence, age: Duration) -> Result<(), String> {
        match self.standing(ended.member).offline {
            Some((earliest, _)) if ended.at - earliest <= age => Err(format!("too early: {ended:?}")),
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

    /// The last position, up to this one, at which someone's rooms have ended by absence.
    pub(crate) fn ended(&self, identity: Identity, by: Position) -> Position {
        let positions = self.standings_of(identity).flat_map(|standing| &standing.ended);
        positions.copied().filter(|position| *position <= by).max().unwrap_or_default()
    }

    /// Nobody who has been away for longer than the window's age is a member for long.
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

    /// Whether someone has been joined to a room when the record at this position was logged.
    pub(crate) fn is_joined(&self, identity: Identity, room: Id, position: Position) -> Visibility {
        let Some(user) = identity.user.and_then(|user| self.0.get(&user)) else { return Visibility::No };
        let bare = user.bare.rooms.sees(room, position);
        let Some(of_tenant) = identity.tenant.and_then(|tenant| user.tenants.get(&tenant)) else { return bare };
        bare.min(of_tenant.shut_out.sees(room, position).not()).max(of_tenant.own.rooms.sees(room, position))
    }

    /// What is known of them when a log is taken up: who is there, but no rooms; `alone` if nobody is.
    pub(crate) fn anew(&self, alone: bool, now: Instant) -> Self {
        let users = self.0.iter().map(|(user, User { bare, tenants })| {
            let tenants = tenants.iter().map(|(tenant, of_tenant)| {
                (*tenant, OfTenant { own: of_tenant.own.anew(alone, now), shut_out: Rooms::default() })
            });
            (*user, User { bare: bare.anew(alone, now), tenants: tenants.collect() })
        });
        Self(users.collect())
    }
}
