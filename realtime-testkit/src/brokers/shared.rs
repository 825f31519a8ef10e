use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::BrokerUnderTest;

/// A server that the tests which run at the same time share; the last of them ends it. For suites
/// whose tests have a prefix each.
#[derive(Debug)]
pub struct SharedServer<B> {
    current: Mutex<Weak<B>>,
    next: AtomicUsize,
}

impl<B: BrokerUnderTest> SharedServer<B> {
    /// Creates the slot of a server that is not started yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { current: Mutex::const_new(Weak::new()), next: AtomicUsize::new(0) }
    }

    /// Returns the server, and a number that no other test has.
    pub async fn get(&self) -> (Arc<B>, usize) {
        let mut current = self.current.lock().await;
        let server = match current.upgrade() {
            Some(server) => server,
            None => Arc::new(B::start().await),
        };
        *current = Arc::downgrade(&server);
        (server, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl<B: BrokerUnderTest> Default for SharedServer<B> {
    fn default() -> Self {
        Self::new()
    }
}
