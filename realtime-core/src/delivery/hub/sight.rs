use std::sync::Arc;

use super::user::Joined;
use crate::delivery::key::Key;
use crate::delivery::membership::Memberships;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::position::Position;
use crate::values::target::{Scope, Target};

/// What one connection may see of the log, as of one moment: who it is and which rooms it was in when.
pub(crate) struct Sight {
    pub(super) id: ConnectionId,
    pub(super) former: Option<ConnectionId>,
    pub(super) identity: Identity,
    /// What it entered itself.
    pub(super) own: Memberships,
    /// What its user was joined to.
    pub(super) joined: Joined,
    pub(super) born: Position,
    /// The last record that had been applied.
    pub(crate) end: Position,
}

impl Sight {
    /// Every key under which the window may hold something for it, each once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let tenant = self.identity.shared_tenant().map(|tenant| Key::Tenant(Arc::clone(tenant)));
        let user = self.identity.shared_user().map(|user| Key::User(Arc::clone(user)));
        let rooms = self.own.known().chain(self.joined.known(&self.own)).map(|room| Key::Room(Arc::clone(room)));
        std::iter::once(Key::All).chain(tenant).chain(user).chain(rooms)
    }

    /// Whether a record found under one of the keys is for it.
    pub(crate) fn sees(&self, position: Position, target: &Target) -> bool {
        let in_room = match target.scope() {
            Scope::Room { name, .. } => self.own.was_in(name, position) || self.joined.was_in(name, position),
            _ => true,
        };
        in_room && target.lets(self.id, &self.identity) && self.former.is_none_or(|former| !target.excludes(former))
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it was connected when this record was applied.
    pub(crate) fn was_there(&self, position: Position) -> bool {
        position > self.born
    }
}
