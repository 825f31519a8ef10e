use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// Connects an outbox to a session: notified when an empty outbox has something again, the session
/// takes until there is nothing left.
///
/// Called from the task that delivers, in a large fan-out under the lock of the applied position:
/// it must not block, and calls nothing of the core.
pub trait Outlet: Send + Sync + 'static {
    /// Notifies the session that there is something to take, or that the connection is to be
    /// closed.
    fn wake(&self);

    /// Closes the TCP connection of a removed connection, whose session may be blocked in a write
    /// that never completes; does nothing where only the session can do that.
    fn cut(&self) {}

    /// Probes the client, because the user has no free slot: checks whether the client is still
    /// there, and closes the connection if the client gives no sign of life within
    /// [`PROBE_TIMEOUT`](crate::spi::PROBE_TIMEOUT). By default does nothing, for a transport that
    /// cannot probe.
    fn probe(&self) {}
}

/// The outlet of a connection that has its own task, which it wakes.
#[derive(Debug, Default)]
pub struct SessionOutlet {
    waker: AtomicWaker,
    probed: AtomicBool,
}

impl Outlet for SessionOutlet {
    fn wake(&self) {
        self.waker.wake();
    }

    fn probe(&self) {
        self.probed.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl SessionOutlet {
    /// Creates an outlet on which no task waits yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers this task to be woken when there is something to take, or the connection is to be
    /// closed.
    pub fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Returns whether the client is to be probed, once for each request; the task is woken for it.
    pub fn take_probe(&self) -> bool {
        self.probed.load(Ordering::Relaxed) && self.probed.swap(false, Ordering::Acquire)
    }
}
