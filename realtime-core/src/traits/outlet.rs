use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// How an outbox reaches the wire: it is told when an empty outbox has something again, and then
/// takes until there is nothing left.
///
/// Called outside all locks of the core, from the task that delivers: it must not block.
pub trait Outlet: Send + Sync + 'static {
    /// There is something to take, or the connection is to be closed.
    fn wake(&self);

    /// The connection has been taken out, and its session may be stuck in a write that never ends: ends it, if anything but
    /// the session can.
    fn cut(&self) {}

    /// Its user has no free place: finds out whether the client is still there, and ends the connection if it gives no sign
    /// of life within [`PROBE_TIMEOUT`](crate::spi::PROBE_TIMEOUT). By default nothing, where that cannot be found out.
    fn probe(&self) {}
}

/// The outlet of a connection that has a task of its own: it wakes that task.
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
    /// An outlet that nobody waits on yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes this task when there is something to take, or the connection is to be closed.
    pub fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Whether the client is to be probed, once for each time; the task is woken for it.
    pub fn take_probe(&self) -> bool {
        self.probed.load(Ordering::Relaxed) && self.probed.swap(false, Ordering::Acquire)
    }
}
