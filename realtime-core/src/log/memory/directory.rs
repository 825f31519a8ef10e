use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use async_trait::async_trait;

use crate::log::directory::{Directory, DirectoryChange, Incarnation};
use crate::log::presence::{OnlineCount, OnlineIn, OnlineUser, Presence};
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::node::{NodeId, NodeInfo};

/// The directory of nodes that share this value; usually one.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    /// The connections of each node and the expiry of its lease. Locked only briefly, never across
    /// an await.
    nodes: Mutex<HashMap<NodeId, Node>>,
}

#[derive(Debug)]
struct Node {
    info: NodeInfo,
    incarnation: Incarnation,
    lease_until: Instant,
    connections: HashMap<ConnectionId, Presence>,
}

/// The duration for which a node's entries are kept after its lease has expired.
const KEEP_EXPIRED: Duration = Duration::from_secs(600);

impl MemoryDirectory {
    /// Creates an empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a function with the nodes whose lease is valid.
    fn with_valid<T>(&self, call: impl FnOnce(&mut dyn Iterator<Item = &Node>) -> T) -> T {
        let now = Instant::now();
        let mut nodes = self.nodes();
        // A node that was only delayed renews its lease and has its connections again; one that is
        // long gone is removed.
        nodes.retain(|_, node| node.lease_until + KEEP_EXPIRED > now);
        call(&mut nodes.values().filter(|node| node.lease_until > now))
    }

    /// Calls a function with the connections on nodes whose lease is valid.
    fn with_online<T>(&self, call: impl FnOnce(&mut dyn Iterator<Item = &Presence>) -> T) -> T {
        self.with_valid(|nodes| call(&mut nodes.flat_map(|node| node.connections.values())))
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        let lease_until = Instant::now() + lease;
        let mut nodes = self.nodes();
        let new_node = || Node {
            info: node.clone(),
            incarnation: Incarnation::random(),
            lease_until,
            connections: HashMap::new(),
        };
        let node = nodes.entry(node.id).or_insert_with(new_node);
        node.lease_until = lease_until;
        for change in changes {
            match change {
                DirectoryChange::Online(presence) => {
                    node.connections.insert(presence.connection, presence.clone());
                }
                DirectoryChange::Offline(connection) => {
                    node.connections.remove(connection);
                }
            }
        }
        Ok(node.incarnation)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        Ok(self.with_valid(|nodes| nodes.map(|node| node.info.clone()).collect()))
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        Ok(self
            .with_online(|online| online.filter(|presence| presence.user.as_deref() == Some(user)).cloned().collect()))
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        let users: BTreeSet<_> = self.with_online(|all| {
            let users = all.filter(|presence| online.contains(presence)).filter_map(Presence::online_user);
            users.filter(|user| after.as_ref().is_none_or(|after| user > after)).collect()
        });
        Ok(users.into_iter().take(most).collect())
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        let (mut users, mut connections) = (HashSet::new(), 0);
        self.with_online(|all| {
            for presence in all.filter(|presence| online.contains(presence)) {
                connections += 1;
                users.extend(presence.online_user());
            }
        });
        Ok(OnlineCount::new(users.len() as u64, connections))
    }
}
