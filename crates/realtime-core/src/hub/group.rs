use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use crate::ConnectionId;

/// A set of connections that is read far more often than changed: readers share a list that is made
/// anew after a change.
pub(super) struct Group<F> {
    members: HashMap<ConnectionId, Arc<Connection<F>>>,
    list: Option<Arc<[Arc<Connection<F>>]>>,
}

impl<F> Default for Group<F> {
    fn default() -> Self {
        Self { members: HashMap::new(), list: None }
    }
}

impl<F> Group<F> {
    pub(super) fn insert(&mut self, connection: &Arc<Connection<F>>) -> bool {
        self.list = None;
        self.members.insert(connection.info.id, Arc::clone(connection)).is_none()
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        self.list = None;
        self.members.remove(&id).is_some()
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Connection<F>>> {
        self.members.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Connection<F>>> {
        self.members.values()
    }

    pub(super) fn list(&mut self) -> Arc<[Arc<Connection<F>>]> {
        let members = &self.members;
        Arc::clone(self.list.get_or_insert_with(|| members.values().cloned().collect()))
    }
}
