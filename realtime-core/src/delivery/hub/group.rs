use std::collections::HashMap;
use std::sync::Arc;

use crate::delivery::connection::Connection;
use crate::values::connection::ConnectionId;

/// A set of connections that is read far more often than changed: readers share a list that is
/// rebuilt after a change.
///
/// The list is in the order of insertion, except that the last member fills the gap of a removed
/// one: a fan-out then walks through memory (this process's and the kernel's) in about the order in
/// which it was allocated, which is what caches expect.
pub(super) struct Group<F> {
    members: Vec<Arc<Connection<F>>>,
    /// The index of each member.
    indices: HashMap<ConnectionId, usize>,
    list: Option<Arc<[Arc<Connection<F>>]>>,
}

impl<F> Default for Group<F> {
    fn default() -> Self {
        Self { members: Vec::new(), indices: HashMap::new(), list: None }
    }
}

impl<F> Group<F> {
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) -> bool {
        let at = self.members.len();
        let known = *self.indices.entry(connection.info.id).or_insert(at);
        if known < at {
            return false;
        }
        self.list = None;
        self.members.push(Arc::clone(connection));
        true
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(at) = self.indices.remove(&id) else { return false };
        self.list = None;
        self.members.swap_remove(at);
        if let Some(moved) = self.members.get(at) {
            self.indices.insert(moved.info.id, at);
        }
        true
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Connection<F>>> {
        self.members.get(*self.indices.get(&id)?)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Connection<F>>> {
        self.members.iter()
    }

    pub(super) fn list(&mut self) -> Arc<[Arc<Connection<F>>]> {
        Arc::clone(self.list.get_or_insert_with(|| self.members.as_slice().into()))
    }
}
