use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// Pause of reading from a session's client, and the tasks that read.
#[derive(Default)]
pub(crate) struct ReadPause {
    paused: AtomicBool,
    /// The reading task of the websocket.
    stream: AtomicWaker,
    /// The task that reads a POST.
    post: AtomicWaker,
}

impl ReadPause {
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Ends the pause, without waking the readers. Returns whether there was one.
    pub(crate) fn resume(&self) -> bool {
        self.paused.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Wakes the tasks that read from the client.
    pub(crate) fn wake_readers(&self) {
        self.stream.wake();
        self.post.wake();
    }

    pub(crate) fn register_stream(&self, cx: &Context<'_>) {
        self.stream.register(cx.waker());
    }

    pub(crate) fn register_post(&self, cx: &Context<'_>) {
        self.post.register(cx.waker());
    }
}
