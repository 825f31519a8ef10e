//! Socket.IO 5 over Engine.IO 4, in websocket frames only.

use super::{Heard, ws};
use crate::Result;

/// Hears events, and takes its part in the handshake and the heartbeat.
#[derive(Debug, Default)]
pub struct Parser {
    frames: ws::Frames,
}

impl Parser {
    pub(super) fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
        self.frames.feed(bytes, |opcode, payload| match ws::control(opcode, payload, hear) {
            Some(text) => packet(text, hear),
            None => Ok(()),
        })
    }
}

/// One packet: an Engine.IO type, and for a message (4) a Socket.IO type.
fn packet(text: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
    let say = |text: &[u8]| Heard::Answer(ws::masked(ws::TEXT, text));
    match text {
        [b'0', ..] => hear(say(b"40")),
        [b'2'] => hear(say(b"3")),
        [b'1'] | [b'4', b'1'] => hear(Heard::End),
        [b'4', b'0', ..] | [b'6'] => {}
        [b'4', b'2', event @ ..] => {
            let name = name(event).ok_or("an event without a name")?;
            hear(Heard::Event { name, data: event });
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
        let mut parser = Parser::default();
        for piece in stream.chunks(3) {
            parser
                .feed(piece, &mut |one| {
                    heard.push(match one {
                        Heard::Answer(bytes) => format!("answer of {}", bytes.len() - 6),
                        Heard::End => "end".to_owned(),
                        Heard::Event { name, data } => format!("{name} {}", String::from_utf8_lossy(data)),
                    });
                })
                .unwrap();
        }
        let expected = ["answer of 2", "answer of 1", "connected [\"connected\",{}]", "tick [\"tick\",1,\"c\"]", "end"];
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_refusal_is_an_error() {
        let error = packet(b"44{\"message\":\"no\"}", &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("\"no\""), "{error}");
    }
}
