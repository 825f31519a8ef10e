//! The online users of all nodes: each node's connections as messages of a stream in the server's
//! memory, and a mirror of all of them in every node.

pub(crate) mod entry;
mod group;
mod mirror;
mod own;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{NodeId, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence, Result};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::RESPONSE;
use crate::error::Fault;
use crate::store::Store;
use mirror::Mirror;
use own::Own;
use watch::Watched;

/// The longest time until this node reads what it has written.
const SEEN: Duration = Duration::from_secs(3);

/// The online users of all nodes, in NATS. Each node keeps a copy of all entries in its memory, so
/// that questions cost no request; a lease is over when its entry has not changed for its time by
/// the clock of the node that asks. Cheap to clone;
/// [`NatsBackplane::directory`](crate::NatsBackplane::directory) creates it.
#[derive(Clone, Debug)]
pub struct NatsDirectory(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    store: Arc<Store>,
    watched: Arc<Watched>,
    /// The entries of this process's own nodes. Locked during an update: updates are sequential.
    own: Mutex<HashMap<NodeId, Own>>,
    watching: JoinHandle<()>,
}

impl NatsDirectory {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        let watched = Arc::new(Watched::default());
        let watching = tokio::spawn(watch::run(Arc::clone(&store), Arc::clone(&watched)));
        Self(Arc::new(Handle { store, watched, own: Mutex::default(), watching }))
    }

    async fn apply(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation, Fault> {
        let Handle { store, watched, own, .. } = &*self.0;
        let mut own = own.lock().await;
        let own = own.entry(node.id).or_default();
        let before = own.incarnation();
        own.renew(store, node, lease).await?;
        let written = own.apply(store, node.id, changes).await?;
        let incarnation = own.incarnation().ok_or(Fault::Unexpected("no incarnation"))?;
        if before != Some(incarnation) || !changes.is_empty() {
            // Whoever asks here next finds what was changed.
            let seen = watched.until(|mirror| mirror.has_seen(node.id, incarnation, written));
            timeout(SEEN, seen).await.map_err(|_| Fault::Behind)?;
        }
        own::remove_ended(store, watched).await;
        Ok(incarnation)
    }

    /// Reads the mirror; waits for it while it is read from the server anew.
    async fn read<T>(&self, read: impl FnOnce(&Mirror) -> T + Send) -> Result<T> {
        let watched = &self.0.watched;
        if !watched.is_current() {
            // An error is that of the read.
            let _ = timeout(RESPONSE, watched.until(|_| true)).await;
        }
        Ok(watched.read(read)?)
    }
}

#[async_trait]
impl Directory for NatsDirectory {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        Ok(self.apply(node, changes, lease).await?)
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.read(Mirror::nodes).await
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        self.read(|mirror| mirror.of_user(user)).await
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        self.read(|mirror| mirror.users(online, after.as_ref(), most)).await
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        self.read(|mirror| mirror.count(online)).await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
