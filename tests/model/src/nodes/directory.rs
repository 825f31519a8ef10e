//! The simulated directory: entries that all nodes share and that can be lost, and for each node an
//! outage of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{Error, MemoryDirectory, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence, Result};
use tokio::time::Instant;

use crate::lock;

/// The entries of all nodes; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Entries(Arc<Mutex<Arc<MemoryDirectory>>>);

impl Entries {
    /// Loses the entries of all nodes.
    pub(crate) fn lose(&self) {
        *lock(&self.0) = Arc::default();
    }
}

/// A node's connection to the directory; clones are the same.
#[derive(Clone)]
pub(crate) struct DirectoryLink(Arc<Shared>);

struct Shared {
    entries: Entries,
    up: AtomicBool,
    fault_at: Mutex<Instant>,
}

impl DirectoryLink {
    pub(crate) fn new(entries: Entries) -> Self {
        let fault_at = Mutex::new(Instant::now() - Duration::from_secs(600));
        Self(Arc::new(Shared { entries, up: AtomicBool::new(true), fault_at }))
    }

    /// Cuts the connection, or restores it.
    pub(crate) fn set_up(&self, up: bool) {
        if self.0.up.swap(up, Ordering::AcqRel) != up {
            *lock(&self.0.fault_at) = Instant::now();
        }
    }

    /// Returns whether the connection has been up since this time.
    pub(crate) fn is_calm_since(&self, since: Instant) -> bool {
        self.0.up.load(Ordering::Acquire) && *lock(&self.0.fault_at) < since
    }

    fn entries(&self) -> Result<Arc<MemoryDirectory>> {
        if self.0.up.load(Ordering::Acquire) {
            Ok(Arc::clone(&lock(&self.0.entries.0)))
        } else {
            Err(Error::Backplane("the directory cannot be reached".into()))
        }
    }
}

#[async_trait]
impl Directory for DirectoryLink {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        self.entries()?.update(node, changes, lease).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.entries()?.nodes().await
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        self.entries()?.of_user(user).await
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        self.entries()?.users(online, after, most).await
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        self.entries()?.count(online).await
    }
}
