use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Requests of a session on long polling.
#[derive(Default)]
pub(crate) struct PollingState {
    /// Set while a GET waits for packets.
    get_waits: AtomicBool,
    /// Number of GETs so far.
    gets: AtomicUsize,
    /// Set while a POST is read; a second one would break the order.
    post_open: AtomicBool,
    /// Callback that ends the session in engineioxide while it is on long polling.
    close: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl PollingState {
    /// Counts one more GET.
    pub(crate) fn count_get(&self) {
        self.gets.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets whether a GET waits for packets.
    pub(crate) fn set_get_waits(&self, waits: bool) {
        self.get_waits.store(waits, Ordering::SeqCst);
    }

    /// Returns whether a GET waits for packets.
    pub(crate) fn get_waits(&self) -> bool {
        self.get_waits.load(Ordering::SeqCst)
    }

    /// Returns the number of GETs so far, or none while one waits. Two equal numbers mean that no
    /// GET arrived in between.
    pub(crate) fn idle_count(&self) -> Option<usize> {
        (!self.get_waits()).then(|| self.gets.load(Ordering::SeqCst))
    }

    /// Notes that a POST is read. Returns false if another one is.
    pub(crate) fn start_post(&self) -> bool {
        !self.post_open.swap(true, Ordering::SeqCst)
    }

    /// Notes that the POST has been read.
    pub(crate) fn end_post(&self) {
        self.post_open.store(false, Ordering::SeqCst);
    }

    /// Sets the callback that ends the session. Returns false if one was set before, which stays.
    pub(crate) fn set_close(&self, close: impl Fn() + Send + Sync + 'static) -> bool {
        self.close.set(Box::new(close)).is_ok()
    }

    /// Calls the callback that ends the session, if it is set.
    pub(crate) fn close(&self) {
        if let Some(close) = self.close.get() {
            close();
        }
    }
}
