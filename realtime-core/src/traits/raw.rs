//! Handlers of raw messages: those outside a transport's event envelope.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::traits::context::Context;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;
use crate::values::raw_reply::RawReply;

/// The return types of a handler of raw messages: nothing, text, bytes, or a `Result` or `Option`
/// of these.
#[diagnostic::on_unimplemented(
    message = "a handler of raw messages cannot return `{Self}`",
    label = "this handler's result is no message",
    note = "a handler of raw messages returns `()`, a `String`, `&str`, `Bytes`, `Vec<u8>` or `RawReply`, or an `Option` or `Result` of one"
)]
pub trait IntoRawReply {
    /// Returns the message to send back, if there is one.
    ///
    /// # Errors
    /// The error that the client gets instead, in the envelope.
    fn into_raw_reply(self) -> Result<RawReply, HandlerError>;
}

impl IntoRawReply for RawReply {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(self)
    }
}

impl IntoRawReply for () {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(RawReply::None)
    }
}

impl IntoRawReply for String {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(RawReply::Text(self))
    }
}

impl IntoRawReply for &str {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(RawReply::Text(self.to_owned()))
    }
}

impl IntoRawReply for Bytes {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(RawReply::Binary(self))
    }
}

impl IntoRawReply for Vec<u8> {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        Ok(RawReply::Binary(self.into()))
    }
}

impl<R: IntoRawReply> IntoRawReply for Option<R> {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        self.map_or(Ok(RawReply::None), R::into_raw_reply)
    }
}

impl<R: IntoRawReply, E: Into<HandlerError>> IntoRawReply for Result<R, E> {
    fn into_raw_reply(self) -> Result<RawReply, HandlerError> {
        self.map_err(Into::into)?.into_raw_reply()
    }
}

/// A handler of one kind of raw messages.
pub(crate) type RawMessageHandler =
    dyn Fn(Context, Inbound) -> BoxFuture<'static, Result<RawReply, HandlerError>> + Send + Sync;

/// Wraps a function that gets the message as `read` extracts it from the inbound event.
pub(crate) fn raw_handler<T, F, Fut, R>(
    read: fn(&Inbound) -> Result<T, HandlerError>,
    handler: F,
) -> Arc<RawMessageHandler>
where
    T: Send + 'static,
    F: Fn(Context, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoRawReply + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |cx, inbound| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let message = read(&inbound)?;
            handler(cx, message).await.into_raw_reply()
        })
    })
}
