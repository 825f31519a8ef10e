//! Who keeps a dispatcher running, and its end when nobody does.

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

    /// A handle that does not keep the dispatcher running, for what lives as long as a connection or a task does.
    ///
    /// When the last owner has gone, connections are sent away and sends fail with [`crate::Error::Closed`].
    pub fn unowned(&self) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(&self.shared), owns: false })
    }

    /// Waits until it has been shut down, by whomever: connections have been closed, and sends are not taken any more.
    pub async fn stopped(&self) {
        self.running.stop.cancelled().await;
    }

    /// Shuts it down when its last owner has gone, unless somebody does it before.
    pub(super) async fn await_abandonment(self: Arc<Self>) {
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
            // A task does the rest: there may be no runtime here.
            self.running.abandoned.cancel();
        }
    }
}
