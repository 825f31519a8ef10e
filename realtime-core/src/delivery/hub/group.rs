use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use crate::values::connection::ConnectionId;

/// A set of connections that is read far more often than changed: readers share a list that is made
/// anew after a change.
///
/// The list is in the order in which they came, but for gaps that were filled: a fan-out then walks through memory (ours and
/// the kernel's) in about the order in which it was given out, which is what caches expect.
pub(super) struct Group<F> {
    members: Vec<Arc<Connection<F>>>,
    /// Where each member is.
    places: HashMap<ConnectionId, usize>,
    list: Option<Arc<[Arc<Connection<F>>]>>,
}

impl<F> Default for Group<F> {
    fn default() -> Self {
        Self { members: Vec::new(), places: HashMap::new(), list: None }
    }
}

impl<F> Group<F> {
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) -> bool {
        let place = self.members.len();
        let known = *self.places.entry(connection.info.id).or_insert(place);
        if known < place {
            return false;
        }
        self.list = None;
        self.members.push(Arc::clone(connection));
        true
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(place) = self.places.remove(&id) else { return false };
        self.list = None;
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.info.id, place);
        }
        true
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Connection<F>>> {
        self.members.get(*self.places.get(&id)?)
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
