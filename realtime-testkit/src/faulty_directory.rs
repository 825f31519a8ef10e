use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{Error, MemoryDirectory, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence, Result};

/// A fault of every update of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateFault {
    /// The update is not applied, and the answer is an error.
    Away,
    /// The update is not applied, and there is no answer.
    NoReply,
    /// The update is applied, and there is no answer.
    AppliedNoReply,
    /// The update is applied, and the answer is an error.
    RefusedThoughTaken,
    /// The update is applied after this time.
    Slow(Duration),
}

/// An in-memory directory whose entries can be lost, and whose updates can fail, on demand.
///
/// Clones are the same directory: give one to every node of a test.
#[derive(Clone, Debug, Default)]
pub struct FaultyDirectory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Arc<MemoryDirectory>,
    fault: Option<UpdateFault>,
    most_changes: usize,
    updates: usize,
}

impl FaultyDirectory {
    /// Creates a directory without faults yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a directory with these entries, which others may share: its faults are its own.
    #[must_use]
    pub fn of(entries: Arc<MemoryDirectory>) -> Self {
        let directory = Self::default();
        directory.inner().entries = entries;
        directory
    }

    /// Loses the entries of all nodes.
    pub fn lose(&self) {
        self.inner().entries = Arc::default();
    }

    /// Sets the fault of every later update; `None` removes it.
    pub fn set_fault(&self, fault: Option<UpdateFault>) {
        self.inner().fault = fault;
    }

    /// Returns the largest number of changes that one update has had.
    #[must_use]
    pub fn most_changes(&self) -> usize {
        self.inner().most_changes
    }

    /// Returns the number of updates, failed ones included.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.inner().updates
    }

    fn entries(&self) -> Arc<MemoryDirectory> {
        Arc::clone(&self.inner().entries)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Directory for FaultyDirectory {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        let fault = {
            let mut inner = self.inner();
            inner.most_changes = inner.most_changes.max(changes.len());
            inner.updates += 1;
            inner.fault
        };
        let refused = || Err(Error::Backplane("the directory is unavailable".into()));
        match fault {
            Some(UpdateFault::Away) => return refused(),
            Some(UpdateFault::NoReply) => std::future::pending::<()>().await,
            Some(UpdateFault::Slow(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        let applied = self.entries().update(node, changes, lease).await;
        match fault {
            Some(UpdateFault::AppliedNoReply) => std::future::pending().await,
            Some(UpdateFault::RefusedThoughTaken) => refused(),
            _ => applied,
        }
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        self.entries().of_user(user).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.entries().nodes().await
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        self.entries().users(online, after, most).await
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        self.entries().count(online).await
    }
}
