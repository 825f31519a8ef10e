use std::collections::HashMap;
use std::sync::Arc;

use realtime_core::spi::Incarnation;
use realtime_core::{NodeId, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence};
use tokio::time::{Duration, Instant};

use super::entry::{self, Lease};
use super::group::{Group, Online};

/// The time after the end of a lease at which other nodes remove the node.
const GRACE: Duration = Duration::from_secs(10);
/// The time for which it is kept that a node was removed, so that all others learn it.
const REMOVED: Duration = Duration::from_secs(60);

/// A copy of all entries.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    nodes: HashMap<NodeId, Node>,
    all: Group,
    tenants: HashMap<String, Group>,
    rooms: HashMap<String, Group>,
    /// The sequence of the last message that was applied.
    applied: u64,
}

/// A node's entries.
#[derive(Debug, Default)]
struct Node {
    /// The lease; `None` if the node was removed, or before its lease is read.
    lease: Option<Lease>,
    /// The sequence of the lease, and when it was read: a lease is measured from then.
    revision: u64,
    read: Option<Instant>,
    parts: HashMap<u32, Vec<Arc<Online>>>,
}

/// A node, or the note of a removed node, that is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A node whose lease, of this revision, is over.
    Lease(NodeId, u64),
    /// The note that a node was removed.
    Note(NodeId, u64),
}

/// Reads the subject of an entry, behind the common part: `<node>.lease` or `<node>.c.<part>`.
fn place(subject: &str) -> Option<(NodeId, Option<u32>)> {
    let mut parts = subject.split('.');
    let node = serde_json::from_value(parts.next()?.into()).ok()?;
    match (parts.next()?, parts.next()) {
        ("lease", None) => Some((node, None)),
        ("c", Some(part)) => Some((node, Some(part.parse().ok()?))),
        _ => None,
    }
}

impl Mirror {
    /// Applies a message; what cannot be read is skipped.
    pub(super) fn apply(&mut self, subject: &str, sequence: u64, data: &[u8]) {
        self.applied = sequence;
        match place(subject) {
            Some((node, Some(part))) => self.set_part(node, part, entry::read(node, data)),
            Some((node, None)) => {
                let lease = Lease::read(data);
                let known = self.nodes.get(&node).and_then(|node| node.lease.as_ref());
                let is_other = |lease: &Lease| known.is_some_and(|known| known.incarnation != lease.incarnation);
                if lease.as_ref().is_none_or(is_other) {
                    self.clear(node);
                }
                let node = self.nodes.entry(node).or_default();
                (node.lease, node.revision, node.read) = (lease, sequence, Some(Instant::now()));
            }
            None => {}
        }
    }

    fn set_part(&mut self, id: NodeId, part: u32, presences: Vec<Presence>) {
        let new: Vec<_> = presences.into_iter().map(|presence| Arc::new(Online::new(id, presence))).collect();
        let node = self.nodes.entry(id).or_default();
        let old = node.parts.insert(part, new.clone()).unwrap_or_default();
        old.iter().for_each(|online| self.remove(online));
        new.iter().for_each(|online| self.insert(online));
    }

    fn clear(&mut self, node: NodeId) {
        let parts = self.nodes.get_mut(&node).map(|node| std::mem::take(&mut node.parts)).unwrap_or_default();
        parts.into_values().flatten().for_each(|online| self.remove(&online));
    }

    fn insert(&mut self, online: &Arc<Online>) {
        self.all.insert(online);
        if let Some(tenant) = &online.presence.tenant {
            self.tenants.entry(tenant.clone()).or_default().insert(online);
        }
        for room in &online.presence.rooms {
            self.rooms.entry(room.clone()).or_default().insert(online);
        }
    }

    fn remove(&mut self, online: &Online) {
        self.all.remove(online);
        if let Some(tenant) = &online.presence.tenant {
            remove_from(&mut self.tenants, tenant, online);
        }
        for room in &online.presence.rooms {
            remove_from(&mut self.rooms, room, online);
        }
    }

    /// Returns whether a node's entries are those up to a sequence.
    pub(super) fn has_seen(&self, node: NodeId, incarnation: Incarnation, sequence: u64) -> bool {
        let lease = self.nodes.get(&node).and_then(|node| node.lease.as_ref());
        self.applied >= sequence && lease.is_some_and(|lease| lease.incarnation == incarnation)
    }

    /// Returns the nodes that are to be removed.
    pub(super) fn ended(&self) -> Vec<Ended> {
        let ended = self.nodes.iter().filter_map(|(id, node)| {
            let since = node.read?.elapsed();
            match &node.lease {
                Some(lease) => (since > lease.lease() + GRACE).then_some(Ended::Lease(*id, node.revision)),
                None => (since > REMOVED).then_some(Ended::Note(*id, node.revision)),
            }
        });
        ended.collect()
    }

    /// Forgets a node that was removed.
    pub(super) fn forget(&mut self, node: NodeId, revision: u64) {
        if self.nodes.get(&node).is_some_and(|node| node.lease.is_none() && node.revision == revision) {
            self.clear(node);
            self.nodes.remove(&node);
        }
    }

    fn is_valid(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(Node::is_valid)
    }

    fn group(&self, online: &OnlineIn) -> Option<&Group> {
        match online {
            OnlineIn::Everywhere => Some(&self.all),
            OnlineIn::Tenant(tenant) => self.tenants.get(tenant),
            OnlineIn::Room(room) => self.rooms.get(room),
            _ => None,
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeInfo> {
        let valid = self.nodes.values().filter(|node| node.is_valid());
        valid.filter_map(|node| Some(node.lease.as_ref()?.node.clone())).collect()
    }

    pub(super) fn of_user(&self, user: &str) -> Vec<Presence> {
        let valid = self.all.of_user(user).filter(|online| self.is_valid(online.node));
        valid.map(|online| online.presence.clone()).collect()
    }

    pub(super) fn users(&self, online: &OnlineIn, after: Option<&OnlineUser>, most: usize) -> Vec<OnlineUser> {
        let group = self.group(online).into_iter();
        group.flat_map(|group| group.users(after, |node| self.is_valid(node))).take(most).cloned().collect()
    }

    pub(super) fn count(&self, online: &OnlineIn) -> OnlineCount {
        self.group(online).map_or_else(OnlineCount::default, |group| group.count(|node| self.is_valid(node)))
    }
}

impl Node {
    fn is_valid(&self) -> bool {
        let (Some(lease), Some(read)) = (&self.lease, self.read) else { return false };
        read.elapsed() < lease.lease()
    }
}

fn remove_from(groups: &mut HashMap<String, Group>, name: &str, online: &Online) {
    if let Some(group) = groups.get_mut(name) {
        group.remove(online);
        if group.is_empty() {
            groups.remove(name);
        }
    }
}
