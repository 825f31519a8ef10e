use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use realtime_core::{ConnectionId, NodeId, OnlineCount, OnlineUser, Presence};

/// A connection, with the node that has it in its entries.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) node: NodeId,
    pub(super) user: Option<Arc<OnlineUser>>,
    pub(super) presence: Presence,
}

/// Connections by their users, in order.
#[derive(Debug, Default)]
pub(super) struct Group {
    users: BTreeMap<Arc<OnlineUser>, Vec<Arc<Online>>>,
    /// Those without a user.
    anonymous: HashMap<(NodeId, ConnectionId), Arc<Online>>,
}

impl Online {
    pub(super) fn new(node: NodeId, presence: Presence) -> Self {
        Self { node, user: presence.online_user().map(Arc::new), presence }
    }

    fn key(&self) -> (NodeId, ConnectionId) {
        (self.node, self.presence.connection)
    }
}

impl Group {
    pub(super) fn insert(&mut self, online: &Arc<Online>) {
        match &online.user {
            Some(user) => self.users.entry(Arc::clone(user)).or_default().push(Arc::clone(online)),
            None => drop(self.anonymous.insert(online.key(), Arc::clone(online))),
        }
    }

    pub(super) fn remove(&mut self, online: &Online) {
        let Some(user) = &online.user else {
            self.anonymous.remove(&online.key());
            return;
        };
        if let Some(connections) = self.users.get_mut(user) {
            connections.retain(|one| one.key() != online.key());
            if connections.is_empty() {
                self.users.remove(user);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.anonymous.is_empty()
    }

    /// Returns the connections of a user name in any tenant.
    pub(super) fn of_user(&self, name: &str) -> impl Iterator<Item = &Arc<Online>> {
        let first = OnlineUser::new(name, None);
        let users = self.users.range::<OnlineUser, _>((Bound::Included(&first), Bound::Unbounded));
        users.take_while(move |(user, _)| user.user == first.user).flat_map(|(_, connections)| connections)
    }

    /// Returns the users with a connection on one of these nodes, in order.
    pub(super) fn users(
        &self,
        after: Option<&OnlineUser>,
        is_valid: impl Fn(NodeId) -> bool,
    ) -> impl Iterator<Item = &OnlineUser> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = self.users.range::<OnlineUser, _>((after, Bound::Unbounded));
        users
            .filter(move |(_, connections)| connections.iter().any(|online| is_valid(online.node)))
            .map(|(user, _)| &**user)
    }

    /// Counts the users and connections on these nodes.
    pub(super) fn count(&self, is_valid: impl Fn(NodeId) -> bool) -> OnlineCount {
        let (mut users, mut all) = (0, self.anonymous.values().filter(|online| is_valid(online.node)).count());
        for connections in self.users.values() {
            let valid = connections.iter().filter(|online| is_valid(online.node)).count();
            users += u64::from(valid > 0);
            all += valid;
        }
        OnlineCount::new(users, all as u64)
    }
}
