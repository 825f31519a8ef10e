use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::traits::context::Context;
use crate::traits::handler::{FnHandler, FromPayload, Handler, IntoReply, RawHandler};
use crate::traits::raw::{IntoRawReply, RawMessageHandler, raw_handler};
use crate::values::error::Error;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::{Inbound, InboundKind};
use crate::values::name::{check_inbound_name, shorten};
use crate::values::raw_reply::RawReply;

type Before = dyn Fn(Context, Inbound) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync;

/// Finds the handler of an inbound event by the event's name, and that of a raw message by its
/// kind.
#[derive(Clone, Default)]
pub struct Router {
    handlers: HashMap<Arc<str>, Arc<dyn Handler>>,
    /// The handlers of names for which the application has none.
    defaults: HashMap<Arc<str>, Arc<dyn Handler>>,
    fallback: Option<Arc<dyn Handler>>,
    raw_text: Option<Arc<RawMessageHandler>>,
    raw_binary: Option<Arc<RawMessageHandler>>,
    before: Vec<Arc<Before>>,
    /// The first reason why the router cannot work.
    error: Option<Arc<str>>,
}

impl Router {
    /// Creates a router without handlers: every event is answered with `unknown_event`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles events of this name, their payload read as `T`.
    ///
    /// A second handler of the same name is rejected by [`Router::check`], and so is a handler of a
    /// name that no client can send: one of [`crate::spi::RESERVED_EVENTS`], except `subscribe` and
    /// `unsubscribe`, or one that breaks the rules of names.
    pub fn on<T, F, Fut, R>(self, name: impl AsRef<str>, handler: F) -> Self
    where
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        T: FromPayload,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.with_handler(name, FnHandler::new(handler))
    }

    /// Handles events of this name with a function that gets them whole: JSON text, attachments,
    /// the ack's number.
    pub fn on_raw<F, Fut, R>(self, name: impl AsRef<str>, handler: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoReply + Send + 'static,
    {
        self.with_handler(name, RawHandler(handler))
    }

    /// Handles events of this name.
    pub fn with_handler(mut self, name: impl AsRef<str>, handler: impl Handler) -> Self {
        let name = name.as_ref();
        if let Err(error) = check_inbound_name(name) {
            self.refuse(format!("on({:?}, …): {error}", shorten(name)));
        }
        self.insert(name.into(), handler)
    }

    /// Handles raw text messages, for a transport that passes them on; only the provider's own
    /// router is asked for such a handler. A second one is rejected by [`Router::check`].
    ///
    /// Its return value is sent back as it is: text, bytes, or nothing.
    pub fn on_text<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        let read =
            |inbound: &Inbound| String::from_utf8(inbound.payload.bytes().to_vec()).map_err(HandlerError::internal);
        if self.raw_text.replace(raw_handler(read, handler)).is_some() {
            self.refuse("two handlers for text messages: only one would run".to_owned());
        }
        self
    }

    /// Handles raw binary messages, as [`Router::on_text`] handles texts.
    pub fn on_binary<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        let read = |inbound: &Inbound| Ok(inbound.payload.bytes().clone());
        if self.raw_binary.replace(raw_handler(read, handler)).is_some() {
            self.refuse("two handlers for binary messages: only one would run".to_owned());
        }
        self
    }

    /// Returns whether raw text messages have a handler.
    pub fn handles_text(&self) -> bool {
        self.raw_text.is_some()
    }

    /// Returns whether raw binary messages have a handler.
    pub fn handles_binary(&self) -> bool {
        self.raw_binary.is_some()
    }

    /// Handles events of this name unless there is another handler for the name.
    pub(crate) fn with_default(mut self, name: &'static str, handler: impl Handler) -> Self {
        self.defaults.insert(name.into(), Arc::new(handler));
        self
    }

    fn insert(mut self, name: Arc<str>, handler: impl Handler) -> Self {
        if self.handlers.insert(Arc::clone(&name), Arc::new(handler)).is_some() {
            self.refuse(format!("two handlers for the event {:?}: only one would run", shorten(&name)));
        }
        self
    }

    /// Records a reason why the router cannot work; [`Router::check`] returns the first one.
    pub fn refuse(&mut self, reason: String) {
        self.error.get_or_insert(reason.into());
    }

    /// Rejects handlers that cannot work; called when the provider is attached.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        self.error.as_ref().map_or(Ok(()), |reason| Err(Error::Config(reason.to_string())))
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

    /// Adds a hook that runs before every event, one that has no handler included, in the order
    /// added; an error of the hook is the answer, and the handler is not called.
    pub fn before<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.before.push(Arc::new(move |cx, inbound| Box::pin(hook(cx, inbound))));
        self
    }

    /// Returns whether no event and no raw message has a handler.
    pub fn is_empty(&self) -> bool {
        let no_events = self.handlers.is_empty() && self.defaults.is_empty() && self.fallback.is_none();
        no_events && !self.handles_text() && !self.handles_binary()
    }

    /// Handles one event: the hooks, then its handler, the fallback, or the error `unknown_event`.
    ///
    /// # Errors
    /// The error that the client gets.
    pub async fn handle(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        self.handle_over(None, cx, inbound).await
    }

    /// Handles one event with the handlers of this router over those of another one. The other
    /// router's hooks run first, then this one's; then the first of these that exists: this
    /// router's handler for the name, the other's, the default one (of
    /// [`Router::with_room_events`]), this router's fallback, the other's fallback.
    ///
    /// # Errors
    /// The error that the client gets.
    pub async fn handle_over(
        &self,
        common: Option<&Self>,
        cx: Context,
        inbound: Inbound,
    ) -> Result<Option<Payload>, HandlerError> {
        self.run_hooks(common, &cx, &inbound).await?;
        let name = &inbound.name;
        let found = self
            .handlers
            .get(name)
            .or_else(|| common?.handlers.get(name))
            .or_else(|| self.defaults.get(name))
            .or(self.fallback.as_ref())
            .or_else(|| common?.fallback.as_ref());
        match found {
            Some(handler) => handler.call(cx, inbound).await,
            None => Err(HandlerError::new("unknown_event", format!("no handler for \"{}\"", shorten(name)))),
        }
    }

    /// Handles one raw message ([`Inbound::is_raw`]): the hooks of the other router and of this
    /// one, then this router's handler for the message's kind.
    ///
    /// # Errors
    /// The error that the client gets; `unknown_event` without a handler.
    pub async fn handle_raw(
        &self,
        common: Option<&Self>,
        cx: Context,
        inbound: Inbound,
    ) -> Result<RawReply, HandlerError> {
        self.run_hooks(common, &cx, &inbound).await?;
        let found = match inbound.kind() {
            InboundKind::Event => None,
            InboundKind::RawBinary => self.raw_binary.as_ref(),
            InboundKind::RawText => self.raw_text.as_ref(),
        };
        match found {
            Some(handler) => handler(cx, inbound).await,
            None => Err(HandlerError::new("unknown_event", "no handler for raw messages")),
        }
    }

    async fn run_hooks(&self, common: Option<&Self>, cx: &Context, inbound: &Inbound) -> Result<(), HandlerError> {
        for hook in common.iter().flat_map(|common| &common.before).chain(&self.before) {
            hook(cx.clone(), inbound.clone()).await?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.handlers.keys().collect();
        f.debug_struct("Router")
            .field("handlers", &names)
            .field("text", &self.handles_text())
            .field("binary", &self.handles_binary())
            .field("fallback", &self.fallback.is_some())
            .finish()
    }
}
