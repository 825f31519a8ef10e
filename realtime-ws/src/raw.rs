//! Messages outside the envelope.

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;
use realtime_core::{Context, Handler, HandlerError, Inbound, Payload};

use crate::codec::{RAW_ACK, WsFrame};

/// The names under which raw messages pass through the queue of inbound events, so that they keep their order with the
/// others. No client can send them: names hold no control characters.
pub(crate) const TEXT: &str = "\u{1}text";
/// See [`TEXT`].
pub(crate) const BINARY: &str = "\u{1}binary";

/// What a handler of raw messages sends back, as one message and without an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawReply {
    /// A binary message.
    Binary(Bytes),
    /// Nothing.
    #[default]
    None,
    /// A text message.
    Text(String),
}

/// What a handler of raw messages may return: nothing, text, bytes, or a `Result` or `Option` of these.
pub trait IntoRawReply {
    /// The message to send back, if there is one.
    ///
    /// # Errors
    /// What the client is told instead, as an error in the envelope.
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

/// A raw message on its way to its handler; copied, for a slice of what was read would keep the whole read buffer.
pub(crate) fn inbound(name: &std::sync::Arc<str>, message: &[u8]) -> Inbound {
    Inbound::new(std::sync::Arc::clone(name), Bytes::copy_from_slice(message)).with_ack(RAW_ACK)
}

/// A function for texts as a [`Handler`].
pub(crate) struct TextHandler<F>(pub(crate) F);

#[async_trait]
impl<F, Fut, R> Handler for TextHandler<F>
where
    F: Fn(Context, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoRawReply + Send + 'static,
{
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let text = String::from_utf8(inbound.payload.bytes().to_vec()).map_err(HandlerError::internal)?;
        (self.0)(cx, text).await.into_raw_reply().map(message)
    }
}

/// A function for bytes as a [`Handler`].
pub(crate) struct BinaryHandler<F>(pub(crate) F);

#[async_trait]
impl<F, Fut, R> Handler for BinaryHandler<F>
where
    F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: IntoRawReply + Send + 'static,
{
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        (self.0)(cx, inbound.payload.bytes().clone()).await.into_raw_reply().map(message)
    }
}

/// The message as it goes over the wire, which the codec passes on.
fn message(reply: RawReply) -> Option<Payload> {
    let frame = match reply {
        RawReply::Binary(bytes) => WsFrame::raw_binary(&bytes),
        RawReply::None => return None,
        RawReply::Text(text) => WsFrame::raw_text(&text),
    };
    Some(Payload::Binary(frame.into_bytes()))
}
