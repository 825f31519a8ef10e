use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::handler::RawHandler;
use crate::name::shorten;
use crate::{Context, FnHandler, Handler, HandlerError, Inbound, IntoReply, Payload};

type Before = dyn Fn(Context, Inbound) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync;

/// Finds the handler for an inbound event by the event's name.
#[derive(Clone, Default)]
pub struct Router {
    handlers: HashMap<Arc<str>, Arc<dyn Handler>>,
    fallback: Option<Arc<dyn Handler>>,
    before: Vec<Arc<Before>>,
}

impl Router {
    /// A router without handlers: every event is answered with `unknown_event`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles events of this name, their payload read as `T`; the last handler for a name wins.
    pub fn on<T, F, Fut, R>(self, name: impl Into<Arc<str>>, handler: F) -> Self
    where
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        T: DeserializeOwned + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.with_handler(name, FnHandler::new(handler))
    }

    /// Handles events of this name, seeing them whole: JSON text, attachments, the ack's number.
    pub fn on_raw<F, Fut, R>(self, name: impl Into<Arc<str>>, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.with_handler(name, RawHandler(handler))
    }

    /// Handles events of this name.
    pub fn with_handler(mut self, name: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.insert(name.into(), Arc::new(handler));
        self
    }

    /// Handles events that have no handler of their own.
    pub fn fallback<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.fallback = Some(Arc::new(RawHandler(handler)));
        self
    }

    /// Runs before every handler, in the order added; an error is the answer and the handler is not called.
    pub fn before<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.before.push(Arc::new(move |cx, inbound| Box::pin(hook(cx, inbound))));
        self
    }

    /// Whether any event has a handler.
    pub fn is_empty(&self) -> bool {
        self.handlers.is_empty() && self.fallback.is_none()
    }

    /// Handles one event: the hooks, then its handler, the fallback, or the error `unknown_event`.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn handle(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let handler = self.handlers.get(&inbound.name).or(self.fallback.as_ref());
        let Some(handler) = handler else {
            return Err(HandlerError::new("unknown_event", format!("no handler for \"{}\"", shorten(&inbound.name))));
        };
        for hook in &self.before {
            hook(cx.clone(), inbound.clone()).await?;
        }
        handler.call(cx, inbound).await
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.handlers.keys().collect();
        f.debug_struct("Router").field("handlers", &names).field("fallback", &self.fallback.is_some()).finish()
    }
}
