use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
use realtime_core::{Error, MemoryDirectory, NodeId, Presence, Result};

/// What goes wrong with every update of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateFault {
    /// It is not taken, and refused.
    Away,
    /// It is not taken, and there is no answer.
    Mute,
    /// It is taken, and there is no answer.
    MuteThoughTaken,
    /// It is taken, and refused as if it had not been.
    RefusedThoughTaken,
    /// It is taken after this time.
    Slow(Duration),
}

/// A memory directory that forgets what it was told, and whose updates fail.
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
    /// Has no faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the entries of all nodes.
    pub fn lose(&self) {
        self.inner().entries = Arc::default();
    }

    /// Lets every update from now on go wrong in this way.
    pub fn set_fault(&self, fault: Option<UpdateFault>) {
        self.inner().fault = fault;
    }

    /// The most changes that one update has had.
    pub fn most_changes(&self) -> usize {
        self.inner().most_changes
    }

    /// How many updates there have been, those that failed included.
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
    async fn update(&self, node: NodeId, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        let fault = {
            let mut inner = self.inner();
            inner.most_changes = inner.most_changes.max(changes.len());
            inner.updates += 1;
            inner.fault
        };
        let refused = || Err(Error::Backplane("the directory is away".into()));
        match fault {
            Some(UpdateFault::Away) => return refused(),
            Some(UpdateFault::Mute) => std::future::pending::<()>().await,
            Some(UpdateFault::Slow(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        let taken = self.entries().update(node, changes, lease).await;
        match fault {
            Some(UpdateFault::MuteThoughTaken) => std::future::pending().await,
            Some(UpdateFault::RefusedThoughTaken) => refused(),
            _ => taken,
        }
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        self.entries().of_user(user).await
    }

    async fn of_tenant(&self, tenant: &str) -> Result<Vec<Presence>> {
        self.entries().of_tenant(tenant).await
    }
}
