use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::traits::context::Context;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;
use crate::values::receipt::Receipt;

/// Handles events from clients.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event; what it returns is the answer, if the client asked for one.
    ///
    /// # Errors
    /// A [`HandlerError`], which the client is told.
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError>;
}

/// An answer to the client, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T>(pub T);

/// What a handler may return: nothing, a [`Reply`], a payload, or a `Result` of these.
pub trait IntoReply {
    /// The answer, if there is one.
    ///
    /// # Errors
    /// What the client is told instead.
    fn into_reply(self) -> Result<Option<Payload>, HandlerError>;
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        Ok(None)
    }
}

/// So that a handler can end with a send; the receipt stays on the server.
impl IntoReply for Receipt {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        Ok(None)
    }
}

impl IntoReply for Payload {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        Ok(Some(self))
    }
}

impl<T: Serialize> IntoReply for Reply<T> {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        Ok(Some(Payload::json(&self.0)?))
    }
}

impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        self.map_or(Ok(None), R::into_reply)
    }
}

impl<R: IntoReply, E: Into<HandlerError>> IntoReply for Result<R, E> {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        self.map_err(Into::into)?.into_reply()
    }
}

/// A function with a typed payload as a [`Handler`].
pub struct FnHandler<F, T> {
    function: F,
    payload: PhantomData<fn(T)>,
}

impl<F, T> FnHandler<F, T> {
    /// Wraps a function.
    pub fn new(function: F) -> Self {
        Self { function, payload: PhantomData }
    }
}

#[async_trait]
impl<F, T, Fut, R> Handler for FnHandler<F, T>
where
    F: Fn(Context, T) -> Fut + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply + Send + 'static,
{
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let payload = inbound.payload.json()?;
        (self.function)(cx, payload).await.into_reply()
    }
}

/// A function that sees the whole inbound event as a [`Handler`].
pub(crate) struct RawHandler<F>(pub(crate) F);

#[async_trait]
impl<F, Fut, R> Handler for RawHandler<F>
where
    F: Fn(Context, Inbound) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply + Send + 'static,
{
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        (self.0)(cx, inbound).await.into_reply()
    }
}
