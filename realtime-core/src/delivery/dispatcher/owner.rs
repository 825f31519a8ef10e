//! The owners of a dispatcher, and its shutdown when the last one is dropped.

use std::ops::Deref;
use std::sync::Arc;

use super::Shared;
use crate::delivery::dispatcher::Dispatcher;
use crate::traits::codec::Codec;
use crate::values::drain::Drain;

impl<C: Codec> Dispatcher<C> {
    pub(super) fn owned(shared: Shared<C>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::new(shared), owns: true })
    }

    /// Returns a handle that does not keep the dispatcher running, for connections and tasks.
    ///
    /// When the last owner is dropped, connections are closed and sends fail with
    /// [`crate::Error::Closed`].
    #[must_use]
    pub fn unowned(&self) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(&self.shared), owns: false })
    }

    /// Waits until the dispatcher has been shut down, by any caller: connections have been closed,
    /// and sends fail.
    pub async fn stopped(&self) {
        self.running.stop.cancelled().await;
    }

    /// Shuts the dispatcher down when the last owner is dropped, unless a caller does it before.
    pub(super) async fn shut_down_without_owner(self: Arc<Self>) {
        tokio::select! {
            () = self.running.abandoned.cancelled() => {}
            () = self.running.stop.cancelled() => return,
        }
        tracing::debug!(provider = self.config.provider, "dropped without a shutdown");
        self.shutdown(Drain::now()).await;
    }
}

impl<C: Codec> Deref for Dispatcher<C> {
    type Target = Shared<C>;

    fn deref(&self) -> &Shared<C> {
        &self.shared
    }
}

impl<C: Codec> Drop for Dispatcher<C> {
    fn drop(&mut self) {
        if self.owns {
            // A task does the shutdown: the drop may be outside of a runtime.
            self.running.abandoned.cancel();
        }
    }
}
