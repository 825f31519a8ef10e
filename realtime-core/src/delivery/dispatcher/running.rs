//! The state of a dispatcher.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::tracker::Tracked;
use crate::traits::runtime::Runtime;
use crate::values::drain::Drain;

/// The state of a dispatcher between its attach and its shutdown.
#[derive(Default)]
pub(super) struct Running {
    /// `true` if the log is being read, and has been read to its end; `false` while the backplane
    /// is not available.
    pub(super) ready: AtomicBool,
    /// The provider's number in the log.
    pub(super) seat: OnceLock<u64>,
    /// Set while the directory is notified of the provider's connections.
    pub(super) tracked: Mutex<Option<Tracked>>,
    /// Set once a shutdown has begun: the node is not ready.
    pub(super) holding: AtomicBool,
    /// Cancelled when the hold, during which everything still works, is over.
    pub(super) hold_over: CancellationToken,
    /// Set once no more connections are accepted.
    pub(super) draining: OnceLock<Drain>,
    /// Set once no more sends are accepted.
    pub(super) closing: AtomicBool,
    /// Cancelled when the last owner is dropped.
    pub(super) abandoned: CancellationToken,
    /// Ends the background tasks.
    pub(super) stop: CancellationToken,
    /// The hooks and workers of connections; shutdown waits for them.
    pub(super) tasks: TaskTracker,
}

impl Running {
    /// Keeps the guard for which the directory is notified of the provider's connections.
    pub(super) fn set_tracked(&self, tracked: Tracked) {
        *self.tracked() = Some(tracked);
    }

    /// Leaves the log, which hands over no more records, and stops notifying the directory.
    pub(super) fn leave(&self, runtime: &Runtime) {
        if let Some(seat) = self.seat.get() {
            runtime.log.leave(*seat);
        }
        *self.tracked() = None;
    }

    fn tracked(&self) -> MutexGuard<'_, Option<Tracked>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
