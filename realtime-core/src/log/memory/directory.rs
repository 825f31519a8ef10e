use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use async_trait::async_trait;

use crate::log::directory::{Directory, DirectoryChange, Incarnation, NodeId, Presence};
use crate::values::connection::ConnectionId;
use crate::values::error::Result;

/// The directory of nodes that share this value; usually one.
#[derive(Debug, Default)]
pub struct MemoryDirectory {
    /// The connections of each node and the expiry of its lease. Locked only briefly, never across
    /// an await.
    nodes: Mutex<HashMap<NodeId, Node>>,
}

#[derive(Debug)]
struct Node {
    incarnation: Incarnation,
    lease_until: Instant,
    connections: HashMap<ConnectionId, Presence>,
}

/// The duration for which a node's entries are kept after its lease has expired.
const KEEP_EXPIRED: Duration = Duration::from_secs(600);

impl MemoryDirectory {
    /// Creates an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, matches: impl Fn(&Presence) -> bool) -> Vec<Presence> {
        let now = Instant::now();
        let mut nodes = self.nodes();
        // A node that was only delayed renews its lease and has its connections again; one that is
        // long gone is removed.
        nodes.retain(|_, node| node.lease_until + KEEP_EXPIRED > now);
        nodes
            .values()
            .filter(|node| node.lease_until > now)
            .flat_map(|node| node.connections.values())
            .filter(|presence| matches(presence))
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn update(&self, node: NodeId, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        let lease_until = Instant::now() + lease;
        let mut nodes = self.nodes();
        let new_node = || Node { incarnation: Incarnation::random(), lease_until, connections: HashMap::new() };
        let node = nodes.entry(node).or_insert_with(new_node);
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

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        Ok(self.find(|presence| presence.user.as_deref() == Some(user)))
    }

    async fn of_tenant(&self, tenant: &str) -> Result<Vec<Presence>> {
        Ok(self.find(|presence| presence.tenant.as_deref() == Some(tenant)))
    }
}
