use std::future::Future;

use crate::traits::context::Context;
use crate::traits::handler::{FromPayload, IntoReply};
use crate::traits::router::Router;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;

/// The builder steps of everything that takes handlers for events from clients: a service's
/// builder, for all its bidirectional providers, and such a provider, for itself.
///
/// For an event the first of these runs that exists: the handler that the connection's provider has
/// for the name, the service's, the ready-made one for `subscribe`, `unsubscribe`, `join` and
/// `leave`, the provider's own `fallback`, the service's. The handlers of one connection run one
/// after the other, in the order in which its client sent the events; those of different
/// connections run in parallel.
///
/// ```
/// use realtime_core::{Context, Handlers, Router};
///
/// Router::new().on("say", async |cx: Context, text: String| {
///     cx.to_room("lobby").except_self().send("said", &text).await
/// });
/// ```
pub trait Handlers: Sized {
    /// Changes the router that holds the handlers.
    #[must_use]
    fn map_router(self, change: impl FnOnce(Router) -> Router) -> Self;

    /// Handles events of this name, their payload read as `T`; with several arguments, which
    /// Socket.IO has, as an array of them. The handler's result answers the client, if that asked
    /// for an answer.
    ///
    /// A handler for `subscribe`, `unsubscribe`, `join` or `leave` replaces the ready-made one. A
    /// second handler of the same name, and one of a name that no client can send
    /// ([`RESERVED_EVENTS`](crate::spi::RESERVED_EVENTS), and what breaks the rules of names), is
    /// an [`Error::Config`](crate::Error::Config) when the service is built.
    #[must_use]
    fn on<T, F, Fut, R>(self, name: impl AsRef<str>, handler: F) -> Self
    where
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        T: FromPayload,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.map_router(|router| router.on(name, handler))
    }

    /// Handles events of this name as a whole: JSON text, attachments, the ack's number.
    #[must_use]
    fn on_raw<F, Fut, R>(self, name: impl AsRef<str>, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.map_router(|router| router.on_raw(name, handler))
    }

    /// Handles events that have no handler of their own.
    #[must_use]
    fn fallback<F, Fut, R>(self, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.map_router(|router| router.fallback(handler))
    }

    /// Runs before every event, one that has no handler included, in the order added; an error is
    /// the answer, and no handler is called. The service's run first, then the provider's own.
    #[must_use]
    fn before<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.map_router(|router| router.before(hook))
    }
}
