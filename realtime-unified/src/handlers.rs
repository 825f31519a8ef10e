//! Handlers for what clients send, whichever transport it comes through, and what they are given.

use std::any::type_name;
use std::future::Future;
use std::sync::Arc;

use realtime_core::{Context, HandlerError, Inbound, IntoReply};
use serde::de::DeserializeOwned;

use crate::builder::NotificationServiceBuilder;

impl NotificationServiceBuilder {
    /// Handles events of this name over every bidirectional provider, their payload read as `T`. What it returns answers the
    /// client, if that asked for an answer.
    ///
    /// For an event the first of these runs that there is: the handler that its provider has for the name by its own `on`, the one
    /// given here, the ready-made one for `subscribe`, `unsubscribe`, `join` and `leave`, the provider's own `fallback`, and
    /// [`NotificationServiceBuilder::fallback`]. Two of the same name given here, or one of a reserved name, are refused by `build`.
    ///
    /// ```
    /// use realtime_unified::{Context, NotificationService};
    ///
    /// NotificationService::builder()
    ///     .on("say", async |cx: Context, text: String| cx.to_room("lobby").except_self().send("said", &text).await);
    /// ```
    pub fn on<T, F, Fut, R>(self, name: impl Into<Arc<str>>, handler: F) -> Self
    where
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        T: DeserializeOwned + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.route(|router| router.on(name, handler))
    }

    /// As [`NotificationServiceBuilder::on`], for a handler that sees the event whole: JSON text, attachments, the ack's number.
    pub fn on_raw<F, Fut, R>(self, name: impl Into<Arc<str>>, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.route(|router| router.on_raw(name, handler))
    }

    /// Handles events for which there is no other handler, over every bidirectional provider that has no `fallback` of its own.
    pub fn fallback<F, Fut, R>(self, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.route(|router| router.fallback(handler))
    }

    /// Runs before every event of every bidirectional provider, in the order added, also where the provider has a handler of its
    /// own; an error is the answer and no handler is called. Then a provider's own `before` run: they add to these and do not
    /// take their place, so that what guards the service guards each transport.
    pub fn before<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.route(|router| router.before(hook))
    }

    /// Gives handlers, hooks and policies a value of the application's, which they read by its type with [`Context::state`]. Two
    /// of the same type are refused by `build`.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use realtime_unified::{Context, HandlerError, NotificationService, Reply};
    ///
    /// struct Db(AtomicU64);
    ///
    /// NotificationService::builder()
    ///     .state(Db(AtomicU64::new(0)))
    ///     .on("count", async |cx: Context, by: u64| {
    ///         let db = cx.state::<Db>()?;
    ///         Ok::<_, HandlerError>(Reply(db.0.fetch_add(by, Ordering::Relaxed) + by))
    ///     });
    /// ```
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        if self.states.has::<T>() {
            self.router.refuse(format!("two states of the type {}: only one would be found", type_name::<T>()));
        }
        self.states = self.states.with(state);
        self
    }

    fn route(mut self, add: impl FnOnce(realtime_core::Router) -> realtime_core::Router) -> Self {
        self.router = add(self.router);
        self
    }
}
