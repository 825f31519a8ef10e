use std::time::Duration;

use tokio::time::Instant;

use crate::api::RESPONSE;
use crate::error::Fault;
use crate::store::Store;

/// The time by which an append has to have an outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + RESPONSE)
    }

    /// Returns the time that is left.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits for a step of the append.
    pub(crate) async fn within<T>(
        self,
        store: &Store,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let late = |_| Fault::Timeout(store.connector.address().to_owned());
        tokio::time::timeout_at(self.0, step).await.map_err(late)?
    }
}
