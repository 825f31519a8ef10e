use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::{Codec, Registration, Take};

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
    /// of life within [`PROBE_TIMEOUT`]. By default nothing, where that cannot be found out.
    fn probe(&self) {}
}

/// How long a client that is probed has to give a sign of life.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

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

    /// Takes what waits, up to `budget` bytes of frames; pending (and the task woken later) when there is nothing.
    ///
    /// Never ready with [`Take::Empty`].
    pub fn poll_take<C: Codec>(
        &self,
        registration: &Registration<C>,
        cx: &mut Context<'_>,
        budget: usize,
        frames: &mut Vec<C::Frame>,
    ) -> Poll<Take> {
        // Registered before looking, so that what comes in between wakes the task.
        self.register(cx);
        match registration.try_take(budget, frames) {
            Take::Empty => Poll::Pending,
            take => Poll::Ready(take),
        }
    }
}
