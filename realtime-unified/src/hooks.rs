//! Closures as lifecycle hooks.

use std::future::Future;

use async_trait::async_trait;
use realtime_core::{CloseReason, Context, IntoReply, LifecycleHook};

use crate::builder::NotificationServiceBuilder;

impl NotificationServiceBuilder {
    /// Adds a hook that is notified of connects and disconnects; may be called several times.
    pub fn hook(mut self, hook: impl LifecycleHook) -> Self {
        self.hooks.push(std::sync::Arc::new(hook));
        self
    }

    /// Runs a closure when a client has connected. It may send, and return what a handler may
    /// return: an error is logged, any other value is ignored.
    ///
    /// ```
    /// use realtime_unified::{Context, NotificationService};
    ///
    /// NotificationService::builder().on_connected(async |cx: Context| {
    ///     cx.to_room("lobby").except_self().send("online", &cx.identity().user_name()).await
    /// });
    /// ```
    pub fn on_connected<F, Fut, R>(self, call: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply,
    {
        self.hook(OnConnected(call))
    }

    /// Runs a closure when a client has disconnected, after the last of its handlers; otherwise
    /// like [`NotificationServiceBuilder::on_connected`].
    pub fn on_disconnected<F, Fut, R>(self, call: F) -> Self
    where
        F: Fn(Context, CloseReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply,
    {
        self.hook(OnDisconnected(call))
    }
}

struct OnConnected<F>(F);
struct OnDisconnected<F>(F);

#[async_trait]
impl<F, Fut, R> LifecycleHook for OnConnected<F>
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply,
{
    async fn connected(&self, cx: &Context) {
        let returned = (self.0)(cx.clone()).await.into_reply();
        log_error(returned.err());
    }
}

#[async_trait]
impl<F, Fut, R> LifecycleHook for OnDisconnected<F>
where
    F: Fn(Context, CloseReason) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply,
{
    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        let returned = (self.0)(cx.clone(), reason.clone()).await.into_reply();
        log_error(returned.err());
    }
}

fn log_error(error: Option<realtime_core::HandlerError>) {
    if let Some(error) = error {
        tracing::warn!(%error, "a lifecycle hook failed");
    }
}
