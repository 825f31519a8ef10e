//! The rooms that users are joined to at one position of a log, for the nodes that read the log
//! only from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::log::record::Record;
use crate::log::room_edit::{RoomEdit, RoomEditKind};
use crate::values::member::Member;
use crate::values::position::Position;

/// The rooms of all users, as the joins and leaves of a log's records up to a position made them. A
/// backplane keeps the table of the position before its oldest record, and applies each record that
/// it drops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomTable(BTreeMap<Arc<str>, UserRooms>);

/// The rooms of one user name, with the positions of the joins; a value to store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRooms {
    /// The rooms joined by the bare name: in every tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    bare: Joins,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tenants: BTreeMap<Arc<str>, TenantRooms>,
}

/// The part that holds for the user of one tenant only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TenantRooms {
    /// The rooms joined with the tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    own: Joins,
    /// The rooms joined by the bare name from which this tenant's user alone was removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    shut_out: Joins,
}

type Joins = BTreeMap<Arc<str>, Position>;

/// One join or leave that a table consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomChange {
    pub(crate) position: Position,
    pub(crate) member: Member,
    pub(crate) room: Arc<str>,
    /// `true` for a leave: of one tenant's user, from a room that the bare name is joined to.
    pub(crate) leaves: bool,
}

impl RoomTable {
    /// Applies a record at its position; returns the user whose rooms it may have changed.
    pub fn apply<'a>(&mut self, position: Position, record: &'a Record) -> Option<&'a str> {
        self.edit(position, &record.room_edit()?);
        record.member().map(|member| &*member.user)
    }

    /// Applies the change of the record at this position.
    pub fn edit(&mut self, position: Position, edit: &RoomEdit) {
        let user = self.0.entry(Arc::clone(&edit.user)).or_default();
        user.edit(position, edit);
        if user.is_empty() {
            self.0.remove(&edit.user);
        }
    }

    /// Returns the rooms of a user name, if there are any.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&UserRooms> {
        self.0.get(name)
    }

    /// Sets the rooms of a user name, as they were stored.
    pub fn restore(&mut self, name: &str, rooms: UserRooms) {
        if !rooms.is_empty() {
            self.0.insert(name.into(), rooms);
        }
    }

    /// Removes all rooms.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the joins and leaves that lead to the same rooms; a leave after its join.
    pub(crate) fn changes(&self) -> impl Iterator<Item = RoomChange> {
        self.0.iter().flat_map(|(name, rooms)| rooms.changes(name))
    }
}

impl UserRooms {
    fn edit(&mut self, position: Position, edit: &RoomEdit) {
        match (&edit.kind, &edit.tenant) {
            (RoomEditKind::Join(room), None) => {
                join(&mut self.bare, room, position);
                for tenant in self.tenants.values_mut() {
                    tenant.shut_out.remove(room);
                }
            }
            (RoomEditKind::Join(room), Some(tenant)) => {
                let tenant = self.tenants.entry(Arc::clone(tenant)).or_default();
                join(&mut tenant.own, room, position);
                tenant.shut_out.remove(room);
            }
            (RoomEditKind::Leave(room), None) => {
                self.bare.remove(room);
                for tenant in self.tenants.values_mut() {
                    tenant.own.remove(room);
                    tenant.shut_out.remove(room);
                }
            }
            (RoomEditKind::Leave(room), Some(tenant)) => {
                let tenant = self.tenants.entry(Arc::clone(tenant)).or_default();
                tenant.own.remove(room);
                if self.bare.contains_key(room) {
                    join(&mut tenant.shut_out, room, position);
                }
            }
            (RoomEditKind::Present, None) => self.bare.values_mut().for_each(|at| *at = position),
            (RoomEditKind::Present, Some(tenant)) => {
                if let Some(tenant) = self.tenants.get_mut(tenant) {
                    tenant.own.values_mut().for_each(|at| *at = position);
                }
            }
            (RoomEditKind::Absent(seen), None) => {
                self.bare.retain(|_, at| *at > *seen);
                let bare = &self.bare;
                self.tenants.values_mut().for_each(|tenant| tenant.shut_out.retain(|room, _| bare.contains_key(room)));
            }
            (RoomEditKind::Absent(seen), Some(tenant)) => {
                if let Some(tenant) = self.tenants.get_mut(tenant) {
                    tenant.own.retain(|_, at| *at > *seen);
                }
            }
        }
        self.tenants.retain(|_, tenant| !tenant.own.is_empty() || !tenant.shut_out.is_empty());
    }

    fn changes(&self, user: &Arc<str>) -> impl Iterator<Item = RoomChange> {
        let change = |tenant: Option<&Arc<str>>, leaves| {
            let member = Member { user: Arc::clone(user), tenant: tenant.cloned() };
            move |(room, at): (&Arc<str>, &Position)| RoomChange {
                position: *at,
                member: member.clone(),
                room: Arc::clone(room),
                leaves,
            }
        };
        let of_tenants = self.tenants.iter().flat_map(move |(name, tenant)| {
            let shut_out = tenant.shut_out.iter().map(change(Some(name), true));
            tenant.own.iter().map(change(Some(name), false)).chain(shut_out)
        });
        self.bare.iter().map(change(None, false)).chain(of_tenants)
    }

    fn is_empty(&self) -> bool {
        self.bare.is_empty() && self.tenants.is_empty()
    }
}

/// Joins a room; a second join changes nothing.
fn join(joins: &mut Joins, room: &Arc<str>, at: Position) {
    joins.entry(Arc::clone(room)).or_insert(at);
}
