//! All nodes, and which one a new connection goes to.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::node::Node;

/// The most Engine.IO sessions whose node is remembered; the oldest is forgotten for a new one.
const MOST_SESSIONS: usize = 10_000;

/// The nodes.
pub(crate) struct Nodes {
    all: Vec<Arc<Node>>,
    /// The number of connections so far.
    next: AtomicUsize,
    /// Locked only briefly, never across an await.
    sessions: Mutex<Sessions>,
}

/// The nodes that opened the Engine.IO sessions of long polling, by session.
#[derive(Default)]
struct Sessions {
    owners: HashMap<String, Arc<Node>>,
    order: VecDeque<String>,
}

impl Nodes {
    pub(crate) fn new(count: u8, program: &Path, broker: &[String]) -> Self {
        let node = |n| Arc::new(Node::new(format!("node-{n}"), program.to_owned(), broker.to_vec()));
        Self { all: (1..=count).map(node).collect(), next: AtomicUsize::new(0), sessions: Mutex::default() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.all.iter()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Node>> {
        self.iter().find(|node| node.name() == name)
    }

    /// Starts all nodes, one after the other.
    pub(crate) async fn start(&self) -> Result<(), String> {
        for node in self.iter() {
            node.start().await?;
        }
        Ok(())
    }

    /// Ends all nodes in order.
    pub(crate) async fn stop(&self) {
        self.iter().for_each(|node| node.stop());
        let ended = async {
            for node in self.iter() {
                node.ended().await;
            }
        };
        if tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.is_err() {
            for node in self.iter() {
                node.kill();
                node.ended().await;
            }
        }
    }

    /// Returns the ready nodes, beginning with the next one in turn.
    pub(crate) fn in_turn(&self) -> Vec<Arc<Node>> {
        let mut ready: Vec<_> = self.iter().filter(|node| node.ready_address().is_some()).map(Arc::clone).collect();
        if !ready.is_empty() {
            let first = self.next.fetch_add(1, Ordering::Relaxed) % ready.len();
            ready.rotate_left(first);
        }
        ready
    }

    /// Returns the node that opened this session.
    pub(crate) fn owner(&self, session: &str) -> Option<Arc<Node>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).owners.get(session).map(Arc::clone)
    }

    /// Notes the node that opened this session.
    pub(crate) fn assign(&self, session: String, node: Arc<Node>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.order.len() >= MOST_SESSIONS
            && let Some(oldest) = sessions.order.pop_front()
        {
            sessions.owners.remove(&oldest);
        }
        sessions.order.push_back(session.clone());
        sessions.owners.insert(session, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_session_is_forgotten_at_the_bound() {
        let nodes = Nodes::new(2, Path::new("demo"), &[]);
        let [one, two] = ["node-1", "node-2"].map(|name| Arc::clone(nodes.named(name).expect("a node")));
        for n in 0..MOST_SESSIONS {
            nodes.assign(format!("s{n}"), Arc::clone(&one));
        }
        nodes.assign("new".to_owned(), two);
        assert!(nodes.owner("s0").is_none());
        assert_eq!(nodes.owner("s1").map(|node| node.name().to_owned()).as_deref(), Some("node-1"));
        assert_eq!(nodes.owner("new").map(|node| node.name().to_owned()).as_deref(), Some("node-2"));
    }

    #[test]
    fn node_that_has_not_started_gets_no_connection() {
        assert!(Nodes::new(3, Path::new("demo"), &[]).in_turn().is_empty());
    }
}
