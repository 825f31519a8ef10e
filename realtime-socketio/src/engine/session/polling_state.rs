use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Requests of a session on long polling.
#[derive(Default)]
pub(crate) struct PollingState {
    requests: Mutex<Requests>,
    /// Callback that ends the session in engineioxide while it is on long polling.
    close: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// The requests under way. One lock for all of them: a GET that starts waits and is counted at
/// once.
#[derive(Default)]
struct Requests {
    /// Set while a GET waits for packets.
    get_waits: bool,
    /// Number of GETs so far.
    gets: usize,
    /// Set while a POST is read; a second one would break the order.
    post_open: bool,
}

impl PollingState {
    /// Notes that one more GET waits for packets.
    pub(crate) fn start_get(&self) {
        let mut requests = self.lock();
        requests.gets += 1;
        requests.get_waits = true;
    }

    /// Notes that no GET waits any more.
    pub(crate) fn end_get(&self) {
        self.lock().get_waits = false;
    }

    /// Returns whether a GET waits for packets.
    pub(crate) fn get_waits(&self) -> bool {
        self.lock().get_waits
    }

    /// Returns the number of GETs so far, or none while one waits. Two equal numbers mean that no
    /// GET arrived in between.
    pub(crate) fn idle_count(&self) -> Option<usize> {
        let requests = self.lock();
        (!requests.get_waits).then_some(requests.gets)
    }

    /// Notes that a POST is read. Returns false if another one is.
    pub(crate) fn start_post(&self) -> bool {
        !std::mem::replace(&mut self.lock().post_open, true)
    }

    /// Notes that the POST has been read.
    pub(crate) fn end_post(&self) {
        self.lock().post_open = false;
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

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
