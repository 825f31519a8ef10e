//! What the server sends, as whole WebSocket messages: bytes in, bytes out.

use std::io::Write;

use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor, Frame, one_line_json};
use realtime_core::{CloseReason, Event, HandlerError, Payload};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as Control125, FrameHeader};

/// The number under which the answers to raw messages come: no client can send it, for its numbers end at 2^53 - 1.
pub(crate) const RAW_ACK: u64 = u64::MAX;

/// The longest header of a frame from a server, which are not masked (RFC 6455 §5.2).
const MAX_HEADER: usize = 10;

/// Writes each message once, with its WebSocket header: sending it is handing out the same bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WsCodec;

/// One whole message as it goes over the wire: header and payload. Empty where there is nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WsFrame(Bytes);

impl Frame for WsFrame {
    fn size(&self) -> usize {
        self.0.len()
    }
}

impl WsFrame {
    /// A text message of the application's own form.
    pub(crate) fn raw_text(text: &str) -> Self {
        Self::write(Data::Text, text.len(), |bytes| bytes.extend_from_slice(text.as_bytes()))
    }

    /// A binary message.
    pub(crate) fn raw_binary(payload: &[u8]) -> Self {
        Self::write(Data::Binary, payload.len(), |bytes| bytes.extend_from_slice(payload))
    }

    /// Header and payload.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Header and payload.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The payload alone, for sinks that are no WebSocket.
    pub(crate) fn payload(&self) -> Bytes {
        let header = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => MAX_HEADER,
            Some(_) => 2,
            None => 0,
        };
        self.0.slice(header..)
    }

    /// `room` bytes of payload are expected.
    fn write(kind: Data, room: usize, payload: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(MAX_HEADER + room);
        bytes.resize(MAX_HEADER, 0);
        payload(&mut bytes);
        let length = (bytes.len() - MAX_HEADER) as u64;
        let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
        // The header's length depends on the payload's, so it is written backwards from where the payload begins.
        let start = MAX_HEADER - header.len(length);
        if let Err(error) = header.format(length, &mut &mut bytes[start..MAX_HEADER]) {
            tracing::error!(%error, "a frame's header could not be written");
        }
        Self(Bytes::from(bytes).slice(start..))
    }

    fn object(fields: &[Field<'_>]) -> Self {
        let room = 2 + fields.iter().map(Field::room).sum::<usize>();
        Self::write(Data::Text, room, |bytes| {
            for (i, field) in fields.iter().enumerate() {
                bytes.push(if i == 0 { b'{' } else { b',' });
                field.write(bytes);
            }
            bytes.push(b'}');
        })
    }
}

impl Codec for WsCodec {
    type Frame = WsFrame;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> WsFrame {
        let mut buffer = [0; Cursor::CHARACTERS];
        let id = cursor.map(|cursor| cursor.encode(&mut buffer));
        let (name, payload) = (Field::Text("type", event.name()), Field::Json("payload", json_of(event.payload())));
        match id {
            Some(id) => WsFrame::object(&[name, payload, Field::Text("id", id)]),
            None => WsFrame::object(&[name, payload]),
        }
    }

    fn ask(&self, event: &Event, ack: u64) -> WsFrame {
        let payload = Field::Json("payload", json_of(event.payload()));
        WsFrame::object(&[Field::Text("type", event.name()), payload, Field::Number("ack", ack)])
    }

    fn ack(&self, ack: u64, payload: &Payload) -> WsFrame {
        match payload {
            // The raw handlers have written their message already; anything else means that they have none.
            Payload::Binary(message) if ack == RAW_ACK => WsFrame(message.clone()),
            _ if ack == RAW_ACK => WsFrame(Bytes::new()),
            Payload::Json(json) => {
                WsFrame::object(&[Field::Text("type", "ack"), Field::Number("ack", ack), Field::Json("payload", json)])
            }
            _ => {
                let error =
                    HandlerError::new("unsupported", "the answer is binary, which this transport has no form for");
                self.error(&error, Some(ack))
            }
        }
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> WsFrame {
        let value = serde_json::json!({ "code": error.code(), "message": error.message() }).to_string();
        let (name, payload) = (Field::Text("type", "error"), Field::Json("payload", value.as_bytes()));
        match ack.filter(|ack| *ack != RAW_ACK) {
            Some(ack) => WsFrame::object(&[name, payload, Field::Number("ack", ack)]),
            None => WsFrame::object(&[name, payload]),
        }
    }

    fn cursor(&self, cursor: Cursor) -> WsFrame {
        WsFrame::object(&[Field::Text("type", "cursor"), Field::Text("id", &cursor.to_string())])
    }
}

/// A close frame (RFC 6455 §5.5.1); without a code where the reason's may not be sent (§7.4.1).
pub(crate) fn close_frame(reason: &CloseReason) -> Vec<u8> {
    let code = CloseCode::from(reason.code());
    let close = code.is_allowed().then(|| CloseFrame { code, reason: reason.text().into() });
    control_frame(Control125::close(close))
}

/// A ping without a payload (RFC 6455 §5.5.2).
pub(crate) const PING: [u8; 2] = [0x89, 0];
/// One whose answer is not taken for the answer to the other.
pub(crate) const PROBE: [u8; 7] = *b"\x89\x05probe";

fn control_frame(frame: Control125) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    let header = frame.header().clone();
    let payload = frame.into_payload();
    if let Err(error) = header.format(payload.len() as u64, &mut bytes).map(|()| bytes.write_all(&payload)) {
        tracing::error!(%error, "a control frame could not be written");
    }
    bytes
}

/// One field of a JSON object.
#[derive(Clone, Copy)]
enum Field<'a> {
    Json(&'static str, &'a [u8]),
    Number(&'static str, u64),
    Text(&'static str, &'a str),
}

impl Field<'_> {
    fn room(&self) -> usize {
        match self {
            Self::Json(name, json) => name.len() + 4 + json.len(),
            Self::Number(name, _) => name.len() + 4 + 20,
            Self::Text(name, text) => name.len() + 6 + text.len(),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (Self::Json(name, _) | Self::Number(name, _) | Self::Text(name, _)) = self;
        bytes.push(b'"');
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b"\":");
        match self {
            Self::Json(_, json) => bytes.extend_from_slice(&one_line_json(json)),
            Self::Number(_, number) => bytes.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(_, text) => {
                // A string always has a JSON form, and memory takes every write.
                if let Err(error) = serde_json::to_writer(bytes, text) {
                    tracing::error!(%error, "a text could not be written");
                }
            }
        }
    }
}

/// Binary events are refused before they are logged; one that another node let through has no JSON form.
fn json_of(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Json(json) => json,
        _ => {
            tracing::warn!("a binary event has no form on this transport");
            b"null"
        }
    }
}

#[cfg(test)]
mod tests {
    use realtime_core::spi::{CursorKey, Epoch, Life, Mark, Position};
    use serde_json::json;

    use super::*;

    fn text(frame: &WsFrame) -> String {
        String::from_utf8(frame.payload().to_vec()).unwrap()
    }

    #[test]
    fn messages_are_written_byte_for_byte() {
        let event = Event::json("chat:send", &json!({"text": "hi"})).unwrap();
        let id = Life::new(Epoch::new(7), &CursorKey::new([7; 32])).cursor(Position::new(1), Mark::NONE);
        let frame = WsCodec.event(&event, Some(id));
        assert_eq!(text(&frame), format!(r#"{{"type":"chat:send","payload":{{"text":"hi"}},"id":"{id}"}}"#));
        assert_eq!(frame.bytes()[..2], [0x81, frame.payload().len() as u8]);
        assert_eq!(text(&WsCodec.event(&event, None)), r#"{"type":"chat:send","payload":{"text":"hi"}}"#);
        assert_eq!(text(&WsCodec.ask(&event, 7)), r#"{"type":"chat:send","payload":{"text":"hi"},"ack":7}"#);
        assert_eq!(text(&WsCodec.cursor(id)), format!(r#"{{"type":"cursor","id":"{id}"}}"#));
        let payload = Payload::json(&[1]).unwrap();
        assert_eq!(text(&WsCodec.ack(3, &payload)), r#"{"type":"ack","ack":3,"payload":[1]}"#);
        let error = HandlerError::new("a", "\"b\"\n");
        assert_eq!(
            text(&WsCodec.error(&error, Some(3))),
            r#"{"type":"error","payload":{"code":"a","message":"\"b\"\n"},"ack":3}"#
        );
        assert_eq!(
            text(&WsCodec.error(&error, Some(RAW_ACK))),
            r#"{"type":"error","payload":{"code":"a","message":"\"b\"\n"}}"#
        );
    }

    #[test]
    fn names_are_escaped() {
        let event = Event::json("a\"\\ä😀", &1).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text(&WsCodec.event(&event, None))).unwrap();
        assert_eq!(value, json!({"type": "a\"\\ä😀", "payload": 1}));
    }

    #[test]
    fn line_ends_of_unicode_are_escaped() {
        let odd = "a\u{2028}\u{2029}\u{85}";
        let escaped = r#""a\u2028\u2029\u0085""#;
        let event = Event::json("n", odd).unwrap();
        assert_eq!(text(&WsCodec.event(&event, None)), format!(r#"{{"type":"n","payload":{escaped}}}"#));
        assert_eq!(text(&WsCodec.ask(&event, 1)), format!(r#"{{"type":"n","payload":{escaped},"ack":1}}"#));
        let payload = Payload::Json(format!("\"{odd}\"").into());
        assert_eq!(text(&WsCodec.ack(1, &payload)), format!(r#"{{"type":"ack","ack":1,"payload":{escaped}}}"#));
        let error = text(&WsCodec.error(&HandlerError::new("c", odd), None));
        assert_eq!(error, format!(r#"{{"type":"error","payload":{{"code":"c","message":{escaped}}}}}"#));
    }

    #[test]
    fn headers_have_the_shortest_length_that_holds_the_payload() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = WsFrame::raw_binary(&vec![7; length]);
            assert_eq!(frame.size(), header + length);
            assert_eq!(frame.payload().len(), length);
            assert_eq!(frame.bytes()[0], 0x82);
        }
        assert_eq!(WsFrame::raw_text("ab").bytes()[..], *b"\x81\x02ab");
    }

    #[test]
    fn raw_answers_go_out_as_they_were_written() {
        let message = WsFrame::raw_text("null");
        assert_eq!(WsCodec.ack(RAW_ACK, &Payload::Binary(message.bytes().clone())), message);
        assert_eq!(WsCodec.ack(RAW_ACK, &Payload::Json("null".into())).size(), 0);
    }

    #[test]
    fn a_binary_answer_is_an_error() {
        let frame = WsCodec.ack(1, &Payload::Binary("a".into()));
        assert!(text(&frame).contains("unsupported") && text(&frame).ends_with(r#""ack":1}"#));
    }

    #[test]
    fn close_frames_carry_code_and_text() {
        assert_eq!(close_frame(&CloseReason::TOO_LARGE), b"\x88\x13\x03\xf1message too large");
        assert_eq!(close_frame(&CloseReason::new(4321, "x", true)), b"\x88\x03\x10\xe1x");
        // 1006 is never sent (RFC 6455 §7.1.5).
        assert_eq!(close_frame(&CloseReason::CONNECTION_LOST), b"\x88\x00");
        assert_eq!(PING, [0x89, 0]);
    }
}
