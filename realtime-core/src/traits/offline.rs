use std::future::Future;

use async_trait::async_trait;

use crate::values::error::BoxError;
use crate::values::offline_event::OfflineEvent;

/// Gets the events that users were not there for, so that an application can push or mail them.
///
/// It is called for each durable event to a user who had no connection, on any node, and for each
/// ask that none of the user's connections answered in time: at least once, by one node. Use
/// [`OfflineEvent::id`] as the key where a second call would do harm. The exact rule is in
/// `docs/offline.md`.
///
/// A type of the application's, or an async closure:
///
/// ```
/// use realtime_core::{BoxError, OfflineEvent, OfflineSink};
///
/// fn sink() -> impl OfflineSink {
///     async |event: OfflineEvent| {
///         if event.name == "message" {
///             println!("mail {} that there is news", event.user);
///         }
///         Ok::<_, BoxError>(())
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an offline sink",
    label = "expected an `OfflineSink`",
    note = "an offline sink is a type with `#[async_trait] impl OfflineSink for …`, or a closure \
            `async |event: OfflineEvent| -> Result<(), BoxError> {{ … }}` that captures nothing by reference"
)]
pub trait OfflineSink: Send + Sync + 'static {
    /// Takes an event, or ignores one that is not worth a push. Several calls run at a time.
    ///
    /// # Errors
    /// Any error has the event come again after a while, for as often and as long as
    /// [`OfflineConfig`](crate::OfflineConfig) says. It is logged: keep secrets out of it.
    async fn offline(&self, event: &OfflineEvent) -> Result<(), BoxError>;
}

#[async_trait]
#[diagnostic::do_not_recommend]
impl<F, Fut> OfflineSink for F
where
    F: Fn(OfflineEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send,
{
    async fn offline(&self, event: &OfflineEvent) -> Result<(), BoxError> {
        self(event.clone()).await
    }
}
