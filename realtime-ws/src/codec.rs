//! The server's messages as whole WebSocket frames: bytes in, bytes out.

use std::io::Write;

use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor, Frame, one_line_json};
use realtime_core::{CloseReason, Event, HandlerError, Payload, RawReply, TraceContext};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as Control125, FrameHeader};

/// The longest header of a frame from a server, in bytes; such frames are not masked (RFC 6455
/// §5.2).
const MAX_HEADER: usize = 10;

/// The codec that writes each message once, with its WebSocket header: to send it, the same bytes
/// are handed out.
#[derive(Clone, Copy, Debug)]
pub struct WsCodec {
    /// `true` if events carry their trace.
    pub(crate) traceparent: bool,
}

/// One whole message as it goes over the wire: header and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsFrame(Bytes);

impl Frame for WsFrame {
    fn size(&self) -> usize {
        self.0.len()
    }
}

impl WsFrame {
    /// Creates a text message without an envelope.
    pub(crate) fn raw_text(text: &str) -> Self {
        Self::write(Data::Text, text.len(), |bytes| bytes.extend_from_slice(text.as_bytes()))
    }

    /// Creates a binary message.
    pub(crate) fn raw_binary(payload: &[u8]) -> Self {
        Self::write(Data::Binary, payload.len(), |bytes| bytes.extend_from_slice(payload))
    }

    /// Returns header and payload.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Returns the payload without its header, for in-process sinks.
    pub(crate) fn payload(&self) -> Bytes {
        let header = match self.0.get(1) {
            Some(126) => 4,
            Some(127) => MAX_HEADER,
            Some(_) => 2,
            None => 0,
        };
        self.0.slice(header..)
    }

    /// Writes a frame; `capacity` is the expected size of the payload.
    fn write(kind: Data, capacity: usize, payload: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(MAX_HEADER + capacity);
        bytes.resize(MAX_HEADER, 0);
        payload(&mut bytes);
        let length = (bytes.len() - MAX_HEADER) as u64;
        let header = FrameHeader { opcode: OpCode::Data(kind), ..FrameHeader::default() };
        // The header's length depends on the payload's, so the header ends where the payload
        // begins.
        let start = MAX_HEADER - header.len(length);
        if let Err(error) = header.format(length, &mut &mut bytes[start..MAX_HEADER]) {
            tracing::error!(%error, "a frame's header could not be written");
        }
        Self(Bytes::from(bytes).slice(start..))
    }

    fn object(fields: &[Field<'_>]) -> Self {
        let capacity = 2 + fields.iter().map(Field::capacity).sum::<usize>();
        Self::write(Data::Text, capacity, |bytes| {
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
        let id = id.map(|id| Field::Text("id", id));
        self.sent(event, id)
    }

    fn ask(&self, event: &Event, ack: u64) -> WsFrame {
        self.sent(event, Some(Field::Number("ack", ack)))
    }

    fn ack(&self, ack: u64, payload: &Payload) -> Option<WsFrame> {
        match payload {
            Payload::Json(json) => {
                let (name, payload) = (Field::Text("type", "ack"), Field::Json("payload", json));
                Some(WsFrame::object(&[name, Field::Number("ack", ack), payload]))
            }
            _ => {
                let error = HandlerError::new("unsupported", "the answer is binary, which this transport cannot send");
                self.error(&error, Some(ack))
            }
        }
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<WsFrame> {
        let value = serde_json::json!({ "code": error.code(), "message": error.message() }).to_string();
        let (name, payload) = (Field::Text("type", "error"), Field::Json("payload", value.as_bytes()));
        Some(match ack {
            Some(ack) => WsFrame::object(&[name, payload, Field::Number("ack", ack)]),
            None => WsFrame::object(&[name, payload]),
        })
    }

    /// Encodes the reply without an envelope.
    fn raw_reply(&self, reply: RawReply) -> Option<WsFrame> {
        match reply {
            RawReply::Binary(bytes) => Some(WsFrame::raw_binary(&bytes)),
            RawReply::Text(text) => Some(WsFrame::raw_text(&text)),
            _ => None,
        }
    }

    fn cursor(&self, cursor: Cursor) -> WsFrame {
        WsFrame::object(&[Field::Text("type", "cursor"), Field::Text("id", &cursor.to_string())])
    }
}

impl WsCodec {
    /// Encodes an event with its cursor, or with the number of the ask.
    fn sent(self, event: &Event, last: Option<Field<'_>>) -> WsFrame {
        let (name, payload) = (Field::Text("type", event.name()), Field::Json("payload", json_of(event.payload())));
        let trace = event.trace().filter(|_| self.traceparent).map(TraceContext::traceparent);
        match (last, trace.as_deref().map(|trace| Field::Text("traceparent", trace))) {
            (Some(last), Some(trace)) => WsFrame::object(&[name, payload, last, trace]),
            (Some(field), None) | (None, Some(field)) => WsFrame::object(&[name, payload, field]),
            (None, None) => WsFrame::object(&[name, payload]),
        }
    }
}

/// Returns a close frame (RFC 6455 §5.5.1); without a code where the reason's may not be sent
/// (§7.4.1).
pub(crate) fn close_frame(reason: &CloseReason) -> Vec<u8> {
    let code = CloseCode::from(reason.code());
    let close = code.is_allowed().then(|| CloseFrame { code, reason: reason.text().into() });
    control_frame(Control125::close(close))
}

/// A ping without a payload (RFC 6455 §5.5.2).
pub(crate) const PING: [u8; 2] = [0x89, 0];
/// A ping whose answer cannot be mistaken for the answer to the other one.
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
    fn capacity(&self) -> usize {
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
                // A string always has a JSON form, and a write to memory always succeeds.
                if let Err(error) = serde_json::to_writer(bytes, text) {
                    tracing::error!(%error, "a text could not be written");
                }
            }
        }
    }
}

/// Returns the JSON of a payload, or `null` for a binary one: those are rejected before they are
/// logged, but another node may have accepted one.
fn json_of(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Json(json) => json,
        _ => {
            tracing::warn!("this transport cannot send a binary event");
            b"null"
        }
    }
}

#[cfg(test)]
mod tests {
    use realtime_core::spi::{CursorKey, CursorSigner, Epoch, Mark, Position};
    use serde_json::json;

    use super::*;

    const CODEC: WsCodec = WsCodec { traceparent: false };

    fn text(frame: &WsFrame) -> String {
        String::from_utf8(frame.payload().to_vec()).unwrap()
    }

    fn ack(number: u64, payload: &Payload) -> String {
        text(&CODEC.ack(number, payload).unwrap())
    }

    fn error_text(error: &HandlerError, ack: Option<u64>) -> String {
        text(&CODEC.error(error, ack).unwrap())
    }

    #[test]
    fn messages_have_the_documented_bytes() {
        let event = Event::json("chat:send", &json!({"text": "hi"})).unwrap();
        let id = CursorSigner::new(Epoch::new(7), &CursorKey::new([7; 32])).cursor(Position::new(1), Mark::NONE);
        let frame = CODEC.event(&event, Some(id));
        assert_eq!(text(&frame), format!(r#"{{"type":"chat:send","payload":{{"text":"hi"}},"id":"{id}"}}"#));
        assert_eq!(frame.bytes()[..2], [0x81, frame.payload().len() as u8]);
        assert_eq!(text(&CODEC.event(&event, None)), r#"{"type":"chat:send","payload":{"text":"hi"}}"#);
        assert_eq!(text(&CODEC.ask(&event, 7)), r#"{"type":"chat:send","payload":{"text":"hi"},"ack":7}"#);
        assert_eq!(text(&CODEC.cursor(id)), format!(r#"{{"type":"cursor","id":"{id}"}}"#));
        let payload = Payload::json(&[1]).unwrap();
        assert_eq!(ack(3, &payload), r#"{"type":"ack","ack":3,"payload":[1]}"#);
        let error = HandlerError::new("a", "\"b\"\n");
        let object = r#""type":"error","payload":{"code":"a","message":"\"b\"\n"}"#;
        assert_eq!(error_text(&error, Some(3)), format!(r#"{{{object},"ack":3}}"#));
        assert_eq!(error_text(&error, None), format!("{{{object}}}"));
    }

    #[test]
    fn trace_is_the_last_field_if_it_is_configured() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let event = Event::json("e", &1).unwrap();
        let traced = event.clone().with_trace(TraceContext::parse(parent, Some("a=b")).unwrap());
        let codec = WsCodec { traceparent: true };
        assert_eq!(
            text(&codec.event(&traced, None)),
            format!(r#"{{"type":"e","payload":1,"traceparent":"{parent}"}}"#)
        );
        assert_eq!(
            text(&codec.ask(&traced, 7)),
            format!(r#"{{"type":"e","payload":1,"ack":7,"traceparent":"{parent}"}}"#)
        );
        assert_eq!(codec.event(&event, None), CODEC.event(&traced, None));
    }

    #[test]
    fn names_are_escaped() {
        let event = Event::json("a\"\\ä😀", &1).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text(&CODEC.event(&event, None))).unwrap();
        assert_eq!(value, json!({"type": "a\"\\ä😀", "payload": 1}));
    }

    #[test]
    fn unicode_line_ends_are_escaped() {
        let odd = "a\u{2028}\u{2029}\u{85}";
        let escaped = r#""a\u2028\u2029\u0085""#;
        let event = Event::json("n", odd).unwrap();
        assert_eq!(text(&CODEC.event(&event, None)), format!(r#"{{"type":"n","payload":{escaped}}}"#));
        assert_eq!(text(&CODEC.ask(&event, 1)), format!(r#"{{"type":"n","payload":{escaped},"ack":1}}"#));
        let payload = Payload::Json(format!("\"{odd}\"").into());
        assert_eq!(ack(1, &payload), format!(r#"{{"type":"ack","ack":1,"payload":{escaped}}}"#));
        let error = error_text(&HandlerError::new("c", odd), None);
        assert_eq!(error, format!(r#"{{"type":"error","payload":{{"code":"c","message":{escaped}}}}}"#));
    }

    #[test]
    fn headers_have_the_shortest_length_form() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = WsFrame::raw_binary(&vec![7; length]);
            assert_eq!(frame.size(), header + length);
            assert_eq!(frame.payload().len(), length);
            assert_eq!(frame.bytes()[0], 0x82);
        }
        assert_eq!(WsFrame::raw_text("ab").bytes()[..], *b"\x81\x02ab");
    }

    #[test]
    fn raw_replies_have_no_envelope() {
        let reply = |reply| CODEC.raw_reply(reply).map(|frame| frame.bytes().to_vec());
        assert_eq!(reply(RawReply::Text("null".to_owned())).unwrap(), b"\x81\x04null");
        assert_eq!(reply(RawReply::Binary("ab".into())).unwrap(), b"\x82\x02ab");
        assert_eq!(reply(RawReply::Text(String::new())).unwrap(), b"\x81\0");
        assert_eq!(reply(RawReply::None), None);
    }

    #[test]
    fn binary_answer_is_an_error() {
        let answer = ack(1, &Payload::Binary("a".into()));
        assert!(answer.contains("unsupported") && answer.ends_with(r#""ack":1}"#));
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
