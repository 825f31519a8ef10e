//! Slots of handlers: of a user, of a tenant, of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::by_tenant::{ByTenant, OfTenant};
use crate::values::config::Limits;

/// A number of slots. Those that wait get one in the order in which they came.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    /// The number of workers that wait for one.
    waiting: AtomicUsize,
}

/// The slots of a node.
#[derive(Debug)]
pub(crate) struct NodeSlots {
    pub(crate) slots: Slots,
    /// The number of workers that wait for any slot, of their user, tenant or node.
    pub(crate) workers: AtomicUsize,
}

/// The slots of the handlers of one provider.
#[derive(Debug)]
pub(crate) struct SlotsOfHandlers {
    /// Shared by the workers of all connections.
    pub(crate) node: Arc<NodeSlots>,
    /// The handlers of one user; `None` for as many as connections.
    pub(crate) of_user: Option<usize>,
    of_tenant: usize,
    /// Shared by the workers of a tenant's connections.
    tenants: Arc<ByTenant<Slots>>,
}

/// Counts one that waits while it exists.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Slots {
    pub(crate) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), waiting: AtomicUsize::new(0) }
    }

    /// Takes a slot if one is free and nobody waits.
    pub(crate) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Waits for a slot.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting::new(&self.waiting);
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Returns whether others wait.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl NodeSlots {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { slots: Slots::new(most), workers: AtomicUsize::new(0) })
    }
}

impl SlotsOfHandlers {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            node: NodeSlots::new(limits.handlers()),
            of_user: limits.handlers_per_user,
            of_tenant: limits.handlers_per_tenant(),
            tenants: ByTenant::new(),
        }
    }

    /// Returns the slots of a tenant.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Arc<OfTenant<Slots>> {
        self.tenants.of(tenant, || Slots::new(self.of_tenant))
    }
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
