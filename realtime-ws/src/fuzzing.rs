//! Entrances to private decoders and encoders, for `tests/fuzz`.

use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor};
use realtime_core::{Event, HandlerError, Inbound};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use crate::codec::{WsCodec, WsFrame};
use crate::decode::{Decoded, decode};
use crate::protocol::{Protocol, close_reason};

/// Decodes a text message; an answer to an ask is an event `ack` with the ask's number, and a text
/// outside the envelope a raw message.
///
/// # Errors
/// The error for the client.
pub fn envelope(text: &str, max_depth: usize, raw: bool) -> Result<Inbound, HandlerError> {
    match decode(text, max_depth, raw) {
        Ok(Decoded::Ack(number, payload)) => {
            let mut inbound = Inbound::new("ack", Bytes::new()).with_ack(number);
            inbound.payload = payload;
            Ok(inbound)
        }
        Ok(Decoded::Event(inbound)) => Ok(inbound),
        Ok(Decoded::Text) => Ok(Inbound::raw_text(text)),
        Err(rejected) => Err(rejected.error),
    }
}

/// The result of reading a client's frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The whole messages: opcode and payload.
    pub messages: Vec<(u8, Bytes)>,
    /// The bytes that are answered by the protocol itself.
    pub replies: Vec<u8>,
    /// The code of the close, if the client broke the protocol.
    pub error: Option<u16>,
}

/// Reads frames that arrive in these pieces, up to a close frame or an error; messages have at most
/// `max` bytes.
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: usize) -> Read {
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let (mut protocol, mut read) = (Protocol::new(), Read::default());
    for piece in pieces {
        protocol.feed(piece);
        loop {
            match protocol.next(&config, &mut read.replies) {
                Ok(Some(message)) => {
                    let opcode = match message {
                        Message::Text(_) => 1,
                        Message::Binary(_) => 2,
                        Message::Ping(_) => 9,
                        Message::Pong(_) => 10,
                        Message::Close(_) | Message::Frame(_) => 8,
                    };
                    read.messages.push((opcode, message.into_data()));
                    if opcode == 8 {
                        protocol.answer_close(&mut read.replies);
                        return read;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    read.error = Some(close_reason(&error).map_or(0, |reason| reason.code()));
                    return read;
                }
            }
        }
    }
    read
}

/// Encodes an event as it goes over the wire.
#[must_use]
pub fn event(event: &Event, cursor: Option<Cursor>) -> Bytes {
    WsCodec { traceparent: false }.event(event, cursor).bytes().clone()
}

/// Returns the text of a frame.
#[must_use]
pub fn payload(frame: &WsFrame) -> Bytes {
    frame.payload()
}
