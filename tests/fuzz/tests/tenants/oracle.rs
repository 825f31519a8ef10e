//! The decision which clients are to get an event: written from the documentation, without the
//! code's own types.

use crate::schedule::{Aim, Name, Person, Scope, Step};

/// The decision whether a client is to get an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An event for the client, which may get it or not: it is at most once, or its rooms are open.
    May,
    Must,
    Never,
}

/// Returns whether an event is for a client. `members` are the joins and leaves so far.
pub fn verdict(index: usize, person: &Person, aim: &Aim, members: &[Step]) -> Verdict {
    let in_tenant = |tenant: Option<Name>| tenant.is_none() || tenant == person.tenant;
    let left_out = aim.except.iter().any(|(user, tenant)| person.user == Some(*user) && in_tenant(*tenant));
    if left_out {
        return Verdict::Never;
    }
    let is = |matches: bool| if matches { Verdict::Must } else { Verdict::Never };
    match aim.scope {
        Scope::All => Verdict::Must,
        Scope::Connection(client) if client == index => Verdict::May,
        Scope::Connection(_) => Verdict::Never,
        Scope::Tenant(tenant) => is(person.tenant == Some(tenant)),
        Scope::User(user, tenant) => is(person.user == Some(user) && in_tenant(tenant)),
        Scope::Room(_, tenant) if !in_tenant(tenant) => Verdict::Never,
        Scope::Room(room, _) => in_room(person, room, members),
    }
}

/// The last join or leave that is about a client decides; a room that it names itself is open to
/// it, and after a leave only when it names the room again.
fn in_room(person: &Person, room: Name, members: &[Step]) -> Verdict {
    let mut changes = members.iter().filter_map(|step| match step {
        Step::Member { user, tenant, room: of, joins, .. } if *of == room && person.user == Some(*user) => {
            (tenant.is_none() || *tenant == person.tenant).then_some(*joins)
        }
        _ => None,
    });
    let last = changes.next_back();
    let has_left = last == Some(false) || changes.any(|joins| !joins);
    match (last == Some(true), person.rooms.contains(&room)) {
        (true, _) => Verdict::Must,
        (false, true) if has_left => Verdict::May,
        (false, true) => Verdict::Must,
        (false, false) => Verdict::Never,
    }
}
