//! Limits of running handlers: as many of one user's connections at a time as the user may have,
//! and as many on the node as there may be connections, disconnected ones included.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::limits::{HandlerSlots, Ticket};

/// The access of one connection's worker to handler slots.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// `None` for a connection without a user.
    of_user: Option<Arc<HandlerSlots>>,
    /// `None` for a connection that has left the hub.
    of_node: Option<Arc<Semaphore>>,
}

/// A handler slot, of the user and of the node: the right to run handlers, one after the other.
#[derive(Debug)]
pub(crate) struct Busy {
    _of_user: Option<OwnedSemaphorePermit>,
    _of_node: OwnedSemaphorePermit,
}

impl Work {
    /// Creates the access for the connection with this ticket.
    pub(crate) fn of(ticket: &Ticket) -> Self {
        let (of_user, of_node) = ticket.handler_slots();
        Self { of_user, of_node: Some(of_node) }
    }

    /// Takes a slot; `None` when too many handlers run, of the user or on the node.
    pub(crate) fn try_begin(&self) -> Option<Busy> {
        let of_user = match &self.of_user {
            Some(slots) => Some(Arc::clone(&slots.free).try_acquire_owned().ok()?),
            None => None,
        };
        let of_node = Arc::clone(self.of_node.as_ref()?).try_acquire_owned().ok()?;
        Some(Busy { _of_user: of_user, _of_node: of_node })
    }

    /// Waits for a slot; `None` when the connection has left the hub.
    pub(crate) async fn begin(&self) -> Option<Busy> {
        let of_user = match &self.of_user {
            Some(slots) => {
                let _waiting = Waiting::new(&slots.waiting);
                Some(Arc::clone(&slots.free).acquire_owned().await.ok()?)
            }
            None => None,
        };
        let of_node = Arc::clone(self.of_node.as_ref()?).acquire_owned().await.ok()?;
        Some(Busy { _of_user: of_user, _of_node: of_node })
    }

    /// Returns whether other workers of the user wait.
    pub(crate) fn is_contended(&self) -> bool {
        self.of_user.as_ref().is_some_and(|slots| slots.waiting.load(Ordering::Relaxed) > 0)
    }
}

/// Counts a waiting worker while it exists.
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
