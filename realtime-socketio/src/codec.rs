use realtime_core::spi::{Codec, Cursor, Frame as CoreFrame};
use realtime_core::{Event, HandlerError, Payload};
use serde_json::json;

use crate::packet::encoded::{Encoded, Part};

/// Encoding of events as Socket.IO packets: `[name, data, cursor]`, of acks `[data]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketIoCodec {
    /// Whether events carry their cursor as the last argument.
    pub(crate) cursor_argument: bool,
}

/// Frame that is sent to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Packet of an event, or of an answer to the client.
    pub packet: Encoded,
    /// Number of the ask, if the client's answer is awaited; the id on the wire is another.
    pub ask: Option<u64>,
}

impl From<Encoded> for Frame {
    fn from(packet: Encoded) -> Self {
        Self { packet, ask: None }
    }
}

/// Memory of a packet besides its text and attachments.
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

    fn ack(&self, ack: u64, payload: &Payload) -> Frame {
        // The client's id, which came as an i64 and was only carried as a u64.
        with_part(payload, |part| Encoded::ack(ack as i64, &[part]).into())
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Frame {
        match ack {
            Some(ack) => Encoded::ack(ack as i64, &[Part::Json(&json!({ "error": error }).to_string())]).into(),
            None => Encoded::event("error", &[Part::Json(&json!(error).to_string())], None).into(),
        }
    }

    fn cursor(&self, cursor: Cursor) -> Frame {
        Encoded::event("cursor", &[], Some(&cursor.to_string())).into()
    }
}

fn with_part<T>(payload: &Payload, build: impl FnOnce(Part<'_>) -> T) -> T {
    match payload {
        // JSON made by serde or checked when the event was made, so it is UTF-8; anything else could not be sent as text.
        Payload::Json(json) => build(Part::Json(std::str::from_utf8(json).unwrap_or("null"))),
        Payload::Binary(bytes) => build(Part::Binary(bytes.clone())),
        Payload::Attached { json, attachments } => {
            build(Part::Attached(std::str::from_utf8(json).unwrap_or("null"), attachments))
        }
        _ => {
            tracing::warn!("the payload is of a kind that this transport does not know");
            build(Part::Json("null"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use realtime_core::spi::{CursorKey, Epoch, Life, Mark, Position};

    const CODEC: SocketIoCodec = SocketIoCodec { cursor_argument: true };

    #[test]
    fn the_cursor_is_the_last_argument_unless_it_is_turned_off() {
        let event = Event::json("a", &json!({"x": 1})).unwrap();
        let cursor = Life::new(Epoch::new(1), &CursorKey::new([7; 32])).cursor(Position::new(2), Mark::NONE);
        assert_eq!(CODEC.event(&event, Some(cursor)).packet.text(), format!(r#"["a",{{"x":1}},"{cursor}"]"#));
        assert_eq!(CODEC.event(&event, None).packet.text(), r#"["a",{"x":1}]"#);
        let without = SocketIoCodec { cursor_argument: false };
        assert_eq!(without.event(&event, Some(cursor)).packet.text(), r#"["a",{"x":1}]"#);
        assert_eq!(CODEC.cursor(cursor).packet.text(), format!(r#"["cursor","{cursor}"]"#));
    }

    #[test]
    fn an_error_answers_the_ack_or_is_an_event() {
        let error = HandlerError::new("c", "m");
        assert_eq!(CODEC.error(&error, Some(3)).packet.text(), r#"[{"error":{"code":"c","message":"m"}}]"#);
        assert_eq!(CODEC.error(&error, None).packet.text(), r#"["error",{"code":"c","message":"m"}]"#);
    }

    #[test]
    fn an_ask_has_its_number_beside_the_packet() {
        let frame = CODEC.ask(&Event::json("q", &1).unwrap(), 9);
        assert_eq!((frame.packet.text(), frame.ask), (r#"["q",1]"#, Some(9)));
    }
}
