//! Frames of RFC 6455, and the JSON envelope in them.

use super::Heard;
use crate::Result;

const CONTINUATION: u8 = 0;
/// A text frame.
pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The key that every frame of a client here is masked with.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The frames of a stream, fed in pieces of any size.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
}

/// Hears events in text frames.
#[derive(Debug, Default)]
pub struct Parser {
    frames: Frames,
}

impl Frames {
    /// Hands on each whole frame as opcode and payload, and keeps the rest.
    ///
    /// # Errors
    /// A fragment, a masked frame, or what `each` answers.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        self.rest.extend(bytes);
        let mut at = 0;
        while let Some((opcode, start, end)) = frame(&self.rest[at..])? {
            each(opcode, &self.rest[at + start..at + end])?;
            at += end;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

/// The first frame's opcode, and where its payload starts and ends; none while it is not whole.
fn frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let [first, second, ..] = bytes else { return Ok(None) };
    let opcode = first & 0x0f;
    if first & 0xf0 != 0x80 || opcode == CONTINUATION || second & 0x80 != 0 {
        return Err(format!("not a whole, plain frame of a server: {first:#x} {second:#x}").into());
    }
    let (start, length) = match second & 0x7f {
        126 => (4, bytes.get(2..4).map(|length| length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))),
        127 => (10, bytes.get(2..10).map(|length| length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))),
        short => (2, Some(usize::from(short))),
    };
    let end = length.map(|length| start + length);
    Ok(end.filter(|end| *end <= bytes.len()).map(|end| (opcode, start, end)))
}

/// The longest payload of a frame with the shortest head.
pub const SHORT: usize = 125;

/// A whole frame of a client, masked; the payload is at most [`SHORT`] bytes, as any answer here is.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(SHORT)];
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap_or(125)];
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole, unmasked text frame of a server.
pub fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match payload.len() {
        short @ 0..126 => frame.push(short.to_be_bytes()[7]),
        middle @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend(&middle.to_be_bytes()[6..]);
        }
        long => {
            frame.push(127);
            frame.extend(long.to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// What every websocket does with control frames; a text frame is handed back.
pub(super) fn control<'a>(opcode: u8, payload: &'a [u8], hear: &mut dyn FnMut(Heard<'_>)) -> Option<&'a [u8]> {
    match opcode {
        TEXT => return Some(payload),
        PING => hear(Heard::Answer(masked(PONG, payload))),
        CLOSE => hear(Heard::End),
        _ => {}
    }
    None
}

impl Parser {
    pub(super) fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
        self.frames.feed(bytes, |opcode, payload| {
            if let Some(text) = control(opcode, payload, hear) {
                let name = name(text).ok_or("a text frame without a type")?;
                hear(Heard::Event { name, data: text, cursor: cursor(text) });
            }
            Ok(())
        })
    }
}

/// The envelope's `type`, which our server writes first.
fn name(text: &[u8]) -> Option<&str> {
    let rest = text.strip_prefix(b"{\"type\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// The envelope's `id`, which our server writes last; empty if there is none.
fn cursor(text: &[u8]) -> &str {
    last_text(text, b"\"}").filter(|(before, _)| before.ends_with(b",\"id\":")).map_or("", |(_, id)| id)
}

/// The JSON text before this ending, if it needs no escapes, and what is before it.
pub(super) fn last_text<'a>(json: &'a [u8], ending: &[u8]) -> Option<(&'a [u8], &'a str)> {
    /// The longest cursor.
    const MOST: usize = 64;
    let rest = json.strip_suffix(ending)?;
    let tail = &rest[rest.len().saturating_sub(MOST + 1)..];
    let length = tail.iter().rev().position(|byte| *byte == b'"')?;
    let (before, text) = rest.split_at(rest.len() - length);
    Some((before.strip_suffix(b"\"")?, std::str::from_utf8(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard when the bytes come in pieces of this size.
    fn heard(bytes: &[u8], cut: usize) -> Vec<String> {
        let mut parser = Parser::default();
        let mut heard = Vec::new();
        for piece in bytes.chunks(cut) {
            let mut hear = |one: Heard<'_>| {
                heard.push(match one {
                    Heard::Answer(bytes) => format!("answer {bytes:x?}"),
                    Heard::End => "end".to_owned(),
                    Heard::Retry(_) => unreachable!("event streams only"),
                    Heard::Event { name, data, .. } => format!("{name} {}", data.len()),
                });
            };
            parser.feed(piece, &mut hear).unwrap();
        }
        heard
    }

    #[test]
    fn frames_of_all_lengths_in_pieces_of_any_size() {
        let event = |length: usize| format!("{{\"type\":\"tick\",\"payload\":\"{}\"}}", "x".repeat(length - 28));
        let lengths = [28, 125, 126, 65_535, 65_536];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| text(event(*length).as_bytes())).collect();
        let expected: Vec<_> = lengths.iter().map(|length| format!("tick {length}")).collect();
        for cut in [1, 7, 4096, stream.len()] {
            assert_eq!(heard(&stream, cut), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_ping_is_answered_with_its_payload_masked_and_a_close_ends() {
        let answer = [0x8a, 0x82, 0x37, 0xfa, 0x21, 0x3d, b'h' ^ 0x37, b'i' ^ 0xfa];
        assert_eq!(heard(&[0x89, 2, b'h', b'i', 0x88, 0], 3), [format!("answer {answer:x?}"), "end".to_owned()]);
    }

    #[test]
    fn the_cursor_is_the_last_field_or_there_is_none() {
        assert_eq!(cursor(br#"{"type":"tick","payload":{"a":"b"},"id":"AX_-z"}"#), "AX_-z");
        assert_eq!(cursor(br#"{"type":"tick","payload":{"id":"b"}}"#), "");
        assert_eq!(cursor(br#"{"type":"tick","payload":"id"}"#), "");
        let long = format!("{{\"type\":\"tick\",\"payload\":\"{}\"}}", "x".repeat(100));
        assert_eq!(cursor(long.as_bytes()), "");
    }

    #[test]
    fn masked_and_fragmented_frames_are_errors() {
        assert!(frame(&[0x81, 0x80]).is_err());
        assert!(frame(&[0x01, 0x01, b'a']).is_err());
        assert!(frame(&[0xc1, 0x01, b'a']).is_err());
        assert!(frame(&[0x81]).unwrap().is_none());
    }
}
