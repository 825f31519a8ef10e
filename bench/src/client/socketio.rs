//! Socket.IO 5 over Engine.IO 4, in websocket frames only.

use super::{Heard, Wish, ws};
use crate::Result;

/// Hears events, and takes its part in the handshake and the heartbeat.
#[derive(Debug)]
pub struct Parser {
    frames: ws::Frames,
    /// The packet that connects to the main namespace, with the client's `auth`.
    connect: Box<str>,
}

impl Parser {
    /// A parser for a client that wishes this.
    ///
    /// # Errors
    /// When the wish is too long for a short frame.
    pub fn new(wish: &Wish) -> Result<Self> {
        let mut auth = serde_json::Map::new();
        if !wish.cursor.is_empty() {
            auth.insert("lastEventId".to_owned(), wish.cursor.as_str().into());
        }
        if !wish.rooms.is_empty() {
            auth.insert("rooms".to_owned(), wish.rooms.as_slice().into());
        }
        let auth = if auth.is_empty() { String::new() } else { serde_json::to_string(&auth)? };
        let connect = format!("40{auth}").into_boxed_str();
        if connect.len() > ws::SHORT {
            return Err("too much to say in `auth`".into());
        }
        Ok(Self { frames: ws::Frames::default(), connect })
    }

    pub(super) fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
        let Self { frames, connect } = self;
        frames.feed(bytes, |opcode, payload| match ws::control(opcode, payload, hear) {
            Some(text) => packet(text, connect, hear),
            None => Ok(()),
        })
    }
}

/// One packet: an Engine.IO type, and for a message (4) a Socket.IO type.
fn packet(text: &[u8], connect: &str, hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
    let say = |text: &[u8]| Heard::Answer(ws::masked(ws::TEXT, text));
    match text {
        [b'0', ..] => hear(say(connect.as_bytes())),
        [b'2'] => hear(say(b"3")),
        [b'1'] | [b'4', b'1'] => hear(Heard::End),
        [b'4', b'0', ..] | [b'6'] => {}
        [b'4', b'2', event @ ..] => {
            let name = name(event).ok_or("an event without a name")?;
            // Our server's last argument; a peer has none, and its data may be anything.
            let cursor = ws::last_text(event, b"\"]").map_or("", |(_, cursor)| cursor);
            hear(Heard::Event { name, data: event, cursor });
        }
        other => return Err(format!("not expected: {}", String::from_utf8_lossy(other)).into()),
    }
    Ok(())
}

/// The first argument.
fn name(event: &[u8]) -> Option<&str> {
    let rest = event.strip_prefix(b"[\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_the_heartbeat_events_and_the_end() {
        let packets: [&[u8]; 6] =
            [b"0{\"sid\":\"a\"}", b"40{\"sid\":\"b\"}", b"2", b"42[\"connected\",{}]", b"42[\"tick\",1,\"c\"]", b"41"];
        let stream: Vec<u8> = packets.iter().flat_map(|packet| ws::text(packet)).collect();
        let mut heard = Vec::new();
        let wish = Wish { cursor: "c".to_owned(), rooms: vec!["a".to_owned()] };
        let mut parser = Parser::new(&wish).unwrap();
        for piece in stream.chunks(3) {
            parser
                .feed(piece, &mut |one| {
                    heard.push(match one {
                        Heard::Answer(bytes) => format!("answer of {}", bytes.len() - 6),
                        Heard::End => "end".to_owned(),
                        Heard::Retry(_) => unreachable!("event streams only"),
                        Heard::Event { name, data, cursor } => {
                            format!("{name} {} {cursor}", String::from_utf8_lossy(data))
                        }
                    });
                })
                .unwrap();
        }
        let connect = r#"40{"lastEventId":"c","rooms":["a"]}"#;
        let expected = [
            &format!("answer of {}", connect.len()),
            "answer of 1",
            "connected [\"connected\",{}] ",
            "tick [\"tick\",1,\"c\"] c",
            "end",
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_refusal_is_an_error() {
        let error = packet(b"44{\"message\":\"no\"}", "40", &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("\"no\""), "{error}");
    }
}
