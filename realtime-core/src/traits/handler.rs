use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::traits::context::Context;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::{Inbound, InboundPayload};
use crate::values::receipt::Receipt;

/// Handles events from clients; `on` of [`Handlers`](crate::Handlers) makes a handler of a closure.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event handler",
    label = "expected a type that implements `Handler`",
    note = "give a closure to `on(name, async |cx: Context, payload: T| {{ … }})` instead"
)]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event and returns the answer, which the client gets if it asked for one.
    ///
    /// # Errors
    /// A [`HandlerError`], which the client gets instead.
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError>;
}

/// An answer to the client, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T>(pub T);

/// The values that a handler may return: nothing, a [`Reply`], a payload, or an `Option` or a
/// `Result` of these.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "this handler's result is no answer",
    note = "wrap the value that answers the client: `Reply(value)`",
    note = "a handler returns `()`, `Reply(value)`, a `Payload`, the `Receipt` of a send, or an `Option` or `Result` of one"
)]
pub trait IntoReply {
    /// Returns the answer, if there is one.
    ///
    /// # Errors
    /// The error that the client gets instead.
    fn into_reply(self) -> Result<Option<Payload>, HandlerError>;
}

/// The types that a handler can read an event's payload as: all that implement
/// [`Deserialize`](serde::Deserialize).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from an event's payload",
    label = "expected a type that implements `serde::Deserialize`",
    note = "a handler takes the payload itself, no extractor: `async |cx: Context, message: Message|`, not `Json<Message>` or `State<_>`",
    note = "derive it: `#[derive(serde::Deserialize)]`; state is read with `cx.state::<T>()?`"
)]
pub trait FromPayload: Sized + Send + 'static {
    /// Reads a payload.
    ///
    /// # Errors
    /// A [`HandlerError`] with the code `invalid_payload`.
    fn from_payload(payload: &InboundPayload) -> Result<Self, HandlerError>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> FromPayload for T {
    fn from_payload(payload: &InboundPayload) -> Result<Self, HandlerError> {
        Ok(payload.json()?)
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Option<Payload>, HandlerError> {
        Ok(None)
    }
}

/// Lets a handler end with `.send(..).await`; the receipt is not sent to the client.
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
    T: FromPayload,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoReply + Send + 'static,
{
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let payload = T::from_payload(&inbound.payload)?;
        (self.function)(cx, payload).await.into_reply()
    }
}

/// A function of the whole inbound event as a [`Handler`].
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
