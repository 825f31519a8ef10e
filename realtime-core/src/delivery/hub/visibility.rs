use std::sync::Arc;

use super::user::Joined;
use crate::delivery::key::Key;
use crate::delivery::membership::Memberships;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::position::Position;
use crate::values::target::{Scope, Target};

/// The part of the log that one connection may see, as of one moment: its identity and the
/// intervals of its rooms.
pub(crate) struct Visibility {
    pub(super) id: ConnectionId,
    pub(super) former: Option<ConnectionId>,
    pub(super) identity: Identity,
    /// The rooms that the connection entered itself.
    pub(super) own: Memberships,
    /// The rooms that the user was joined to.
    pub(super) joined: Joined,
    pub(super) registered_at: Position,
    /// The last record that had been applied.
    pub(crate) end: Position,
}

impl Visibility {
    /// Returns every key under which the window may hold a record for the connection, each once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        let tenant = self.identity.shared_tenant().map(|tenant| Key::Tenant(Arc::clone(tenant)));
        let user = self.identity.shared_user().map(|user| Key::User(Arc::clone(user)));
        let rooms = self.own.known().chain(self.joined.known(&self.own)).map(|room| Key::Room(Arc::clone(room)));
        std::iter::once(Key::All).chain(tenant).chain(user).chain(rooms)
    }

    /// Returns whether the target of a record, found under one of the keys, means the connection.
    pub(crate) fn sees(&self, position: Position, target: &Target) -> bool {
        let in_room = match target.scope() {
            Scope::Room { name, .. } => self.own.was_in(name, position) || self.joined.was_in(name, position),
            _ => true,
        };
        in_room && target.admits(self.id, &self.identity) && self.former.is_none_or(|former| !target.excludes(former))
    }

    /// Returns the connection's identity.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns whether the connection was registered when this record was applied.
    pub(crate) fn was_registered(&self, position: Position) -> bool {
        position > self.registered_at
    }
}
