use realtime_core::spi::{Codec, Cursor, Frame as CoreFrame};
use realtime_core::{Event, HandlerError, Payload};
use serde_json::json;

use crate::packet::encoded::{Encoded, Part};

/// Codec of Socket.IO packets: `[name, data, cursor]` for events, `[data]` for acks.
#[derive(Clone, Copy, Debug)]
pub struct SocketIoCodec {
    /// `true` if events carry their cursor as the last argument.
    pub(crate) cursor_argument: bool,
}

/// A frame that is sent to a connection.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Packet of an event, or of an answer to the client.
    pub(crate) packet: Encoded,
    /// Number of the ask, if the client's answer is awaited; the packet's id on the wire is a
    /// different one.
    pub(crate) ask: Option<u64>,
}

impl From<Encoded> for Frame {
    fn from(packet: Encoded) -> Self {
        Self { packet, ask: None }
    }
}

/// Memory of a packet in addition to its text and attachments.
const PACKET_BYTES: usize = 48;

impl CoreFrame for Frame {
    fn size(&self) -> usize {
        PACKET_BYTES + self.packet.len()
    }
}

impl Codec for SocketIoCodec {
    type Frame = Frame;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Frame {
        let mut buffer = [0; Cursor::CHARACTERS];
        let cursor = cursor.filter(|_| self.cursor_argument);
        let cursor = cursor.as_ref().map(|cursor| cursor.encode(&mut buffer));
        with_part(event.payload(), |part| Encoded::event(event.name(), &[part], cursor).into())
    }

    fn ask(&self, event: &Event, ack: u64) -> Frame {
        with_part(event.payload(), |part| Frame { packet: Encoded::event(event.name(), &[part], None), ask: Some(ack) })
    }

    fn ack(&self, ack: u64, payload: &Payload) -> Option<Frame> {
        // The client's id was parsed as an i64 and is only carried as a u64.
        Some(with_part(payload, |part| Encoded::ack(ack as i64, &[part]).into()))
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Frame> {
        let packet = match ack {
            Some(ack) => Encoded::ack(ack as i64, &[Part::Json(&json!({ "error": error }).to_string())]),
            None => Encoded::event("error", &[Part::Json(&json!(error).to_string())], None),
        };
        Some(packet.into())
    }

    /// Returns `false`: a disconnect has no text, and clients do not show the code of a close
    /// frame.
    fn has_close_codes(&self) -> bool {
        false
    }

    fn cursor(&self, cursor: Cursor) -> Frame {
        Encoded::event("cursor", &[], Some(&cursor.to_string())).into()
    }
}

fn with_part<T>(payload: &Payload, build: impl FnOnce(Part<'_>) -> T) -> T {
    match payload {
        // JSON that serde wrote, or that was checked when the event was created: always UTF-8.
        Payload::Json(json) => build(Part::Json(std::str::from_utf8(json).unwrap_or("null"))),
        Payload::Binary(bytes) => build(Part::Binary(bytes.clone())),
        Payload::Attached { json, attachments } => {
            build(Part::Attached(std::str::from_utf8(json).unwrap_or("null"), attachments))
        }
        _ => {
            tracing::warn!("unsupported payload kind");
            build(Part::Json("null"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime_core::spi::{CursorKey, CursorSigner, Epoch, Mark, Position};

    const CODEC: SocketIoCodec = SocketIoCodec { cursor_argument: true };

    #[test]
    fn cursor_is_last_argument_unless_disabled() {
        let event = Event::json("a", &json!({"x": 1})).unwrap();
        let cursor = CursorSigner::new(Epoch::new(1), &CursorKey::new([7; 32])).cursor(Position::new(2), Mark::NONE);
        assert_eq!(CODEC.event(&event, Some(cursor)).packet.text(), format!(r#"["a",{{"x":1}},"{cursor}"]"#));
        assert_eq!(CODEC.event(&event, None).packet.text(), r#"["a",{"x":1}]"#);
        let without = SocketIoCodec { cursor_argument: false };
        assert_eq!(without.event(&event, Some(cursor)).packet.text(), r#"["a",{"x":1}]"#);
        assert_eq!(CODEC.cursor(cursor).packet.text(), format!(r#"["cursor","{cursor}"]"#));
    }

    #[test]
    fn error_is_ack_or_event() {
        let error = HandlerError::new("c", "m");
        assert_eq!(CODEC.error(&error, Some(3)).unwrap().packet.text(), r#"[{"error":{"code":"c","message":"m"}}]"#);
        assert_eq!(CODEC.error(&error, None).unwrap().packet.text(), r#"["error",{"code":"c","message":"m"}]"#);
    }

    #[test]
    fn ask_frame_carries_number_outside_packet() {
        let frame = CODEC.ask(&Event::json("q", &1).unwrap(), 9);
        assert_eq!((frame.packet.text(), frame.ask), (r#"["q",1]"#, Some(9)));
    }
}
