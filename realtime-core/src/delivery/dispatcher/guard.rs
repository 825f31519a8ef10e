//! Calls of the application's code, which may panic.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::delivery::dispatcher::Dispatcher;
use crate::traits::codec::Codec;
use crate::traits::runtime::DECISION_TIMEOUT;
use crate::values::name::shorten;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::stats::add;

impl<C: Codec> Dispatcher<C> {
    /// Runs the application's code of this kind and name; `None` when it panicked, which is counted
    /// and logged.
    pub(super) async fn guard<T>(&self, kind: &'static str, name: &str, run: impl Future<Output = T>) -> Option<T> {
        let done = AssertUnwindSafe(run).catch_unwind().await;
        if done.is_err() {
            add(&self.counters.panics, 1);
            tracing::error!(provider = self.config.provider, name = ?shorten(name), "the {kind} panicked");
        }
        done.ok()
    }

    /// Runs the application's code that decides about a client, within the service's
    /// `decision_timeout`.
    ///
    /// # Errors
    /// [`RefusalKind::Internal`] when it panicked, [`RefusalKind::Unavailable`] when it took too
    /// long; both are logged.
    pub(super) async fn decide<T>(&self, kind: &'static str, run: impl Future<Output = T>) -> Result<T, Refusal> {
        let provider = self.config.provider;
        let most = self.runtime.get().map_or(DECISION_TIMEOUT, |runtime| runtime.decision_timeout);
        match tokio::time::timeout(most, self.guard(kind, provider, run)).await {
            Ok(Some(decision)) => Ok(decision),
            Ok(None) => Err(Refusal::new(RefusalKind::Internal, "internal error")),
            Err(_) => {
                add(&self.counters.overdue, 1);
                tracing::error!(provider, setting = "decision_timeout", limit = ?most, "the {kind} did not answer in time");
                Err(Refusal::new(RefusalKind::Unavailable, "temporarily unavailable"))
            }
        }
    }
}
