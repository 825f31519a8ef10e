//! Who may run handlers: as many of one user's connections at a time as it has places, those that have left included.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Admission, NodePlace};
use crate::membership::Member;

/// The handlers that one user may have running at a time.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    /// Workers that wait for one.
    waiting: AtomicUsize,
    admission: Arc<Admission>,
    owner: Member,
}

/// What the worker of one connection needs to run handlers.
#[derive(Debug)]
pub(crate) struct Work {
    /// None for a connection without a user.
    slots: Option<Arc<Slots>>,
    /// Gone with the connection.
    node: Weak<NodePlace>,
}

/// The right to run handlers, one after the other. The connection's place on the node is not free before it ends.
#[derive(Debug)]
pub(crate) struct Busy {
    _slot: Option<OwnedSemaphorePermit>,
    _node: Arc<NodePlace>,
}

impl Slots {
    pub(crate) fn new(most: usize, admission: Arc<Admission>, owner: Member) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            admission,
            owner,
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.admission.forget(&self.owner);
    }
}

impl Work {
    pub(crate) fn new(slots: Option<Arc<Slots>>, node: &Arc<NodePlace>) -> Self {
        Self { slots, node: Arc::downgrade(node) }
    }

    /// That of a connection that has left: none.
    pub(crate) fn none() -> Self {
        Self { slots: None, node: Weak::new() }
    }

    /// None when the user has too many running, or the connection has left.
    pub(crate) fn try_begin(&self) -> Option<Busy> {
        let slot = match &self.slots {
            Some(slots) => Some(Arc::clone(&slots.free).try_acquire_owned().ok()?),
            None => None,
        };
        Some(Busy { _slot: slot, _node: self.node.upgrade()? })
    }

    /// Waits until the user has one running less; none when the connection has left.
    pub(crate) async fn begin(&self) -> Option<Busy> {
        let slot = match &self.slots {
            Some(slots) => {
                let _waiting = Waiting::new(&slots.waiting);
                Some(Arc::clone(&slots.free).acquire_owned().await.ok()?)
            }
            None => None,
        };
        Some(Busy { _slot: slot, _node: self.node.upgrade()? })
    }

    /// Whether others of the user wait.
    pub(crate) fn is_contended(&self) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.waiting.load(Ordering::Relaxed) > 0)
    }
}

/// Counts one that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
