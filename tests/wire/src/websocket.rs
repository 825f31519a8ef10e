//! WebSocket frames (RFC 6455).

use crate::http::{Part, Responses};
use crate::{Encoded, Received, Result};

/// The opcode of a text frame.
pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The key that every client frame here is masked with.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The headers of an opening handshake (RFC 6455 §4.1).
pub const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The frames of a server.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Hands on the opcode and payload of each complete frame, and keeps the rest.
    ///
    /// # Errors
    /// When a frame is a fragment, masked or extended, or `each` fails.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((opcode, start, end)) = frame(&self.rest[at..])?.filter(|(.., end)| at + end <= self.rest.len())
        {
            each(opcode, &self.rest[at + start..at + end])?;
            at += end;
        }
        self.rest.drain(..at);
        Ok(())
    }

    /// Returns the size of the payload of the frame that has begun and not ended, and its bytes so
    /// far; `None` while the header is incomplete.
    #[must_use]
    pub fn partial(&self) -> Option<(usize, &[u8])> {
        let (_, start, end) = frame(&self.rest).ok()??;
        Some((end - start, &self.rest[start..]))
    }

    /// Returns whether a frame has begun and not ended.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.rest.is_empty()
    }
}

/// Returns the first frame's opcode, and where its payload starts and ends; `None` while its header
/// is incomplete.
fn frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>> {
    let [first, second, ..] = bytes else { return Ok(None) };
    let opcode = first & 0x0f;
    if first & 0xf0 != 0x80 || opcode == 0 || second & 0x80 != 0 {
        return Err(format!("not a whole, plain frame of a server: {first:#x} {second:#x}"));
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    let (start, length) = match second & 0x7f {
        126 => (4, bytes.get(2..4).map(number)),
        127 => (10, bytes.get(2..10).map(number)),
        short => (2, Some(usize::from(short))),
    };
    Ok(length.map(|length| (opcode, start, start + length)))
}

/// Encodes a frame of a client, masked.
#[must_use]
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len());
    frame[1] |= 0x80;
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Encodes a text frame of a client, masked.
#[must_use]
pub fn client_text(text: &str) -> Vec<u8> {
    client_frame(TEXT, text.as_bytes())
}

/// Encodes a client's close frame with the code 1000.
#[must_use]
pub fn client_close() -> Vec<u8> {
    client_frame(CLOSE, &1000u16.to_be_bytes())
}

/// Encodes a text frame of a server, which is not masked.
#[must_use]
pub fn server_text(payload: &[u8]) -> Vec<u8> {
    let mut frame = header(TEXT, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// Encodes an unmasked header, with room for a payload of this length.
fn header(opcode: u8, length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(length + 14);
    frame.push(0x80 | opcode);
    let bytes = (length as u64).to_be_bytes();
    let (kind, length_bytes): (Option<u8>, &[u8]) = match length {
        0..126 => (None, &bytes[7..]),
        126..0x1_0000 => (Some(126), &bytes[6..]),
        _ => (Some(127), &bytes),
    };
    frame.extend(kind);
    frame.extend_from_slice(length_bytes);
    frame
}

/// A websocket, from the response to its handshake on.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    responses: Responses,
    frames: Frames,
}

impl Socket {
    /// Hands on each text, as an envelope, and the end; answers control frames in `outgoing`.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        outgoing: &mut Vec<u8>,
        each: &mut dyn FnMut(Received<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let Self { responses, frames } = self;
        responses.feed(bytes, &mut |status, part| match part {
            Part::Data(data) if status == 101 => frames.feed(data, |opcode, payload| {
                match opcode {
                    TEXT => each(Received::Message(Encoded::Envelope(payload)), outgoing)?,
                    CLOSE => {
                        outgoing.extend(client_frame(CLOSE, payload));
                        each(Received::Close, outgoing)?;
                    }
                    PING => outgoing.extend(client_frame(PONG, payload)),
                    PONG => {}
                    other => return Err(format!("a frame with the opcode {other}")),
                }
                Ok(())
            }),
            Part::Data(_) | Part::Head => Ok(()),
            Part::End => each(Received::Refused(status.to_string().into()), outgoing),
        })
    }

    pub(crate) fn is_incomplete(&self) -> bool {
        self.frames.is_incomplete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_lengths_are_read_from_pieces_of_any_size() {
        let lengths = [0, 28, 125, 126, 65_535, 65_536];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| server_text(&vec![b'x'; *length])).collect();
        for piece in [1, 7, 4096, stream.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in stream.chunks(piece) {
                let each = |opcode, payload: &[u8]| {
                    assert_eq!(opcode, TEXT);
                    seen.push(payload.len());
                    Ok(())
                };
                frames.feed(piece, each).unwrap();
            }
            assert_eq!(seen, lengths, "pieces of {piece}");
            assert!(!frames.is_incomplete());
        }
    }

    #[test]
    fn client_frames_are_masked() {
        assert_eq!(client_frame(PONG, b"hi"), [0x8a, 0x82, 0x37, 0xfa, 0x21, 0x3d, b'h' ^ 0x37, b'i' ^ 0xfa]);
        assert_eq!(client_frame(TEXT, &[0; 126])[..4], [0x81, 0xfe, 0, 126]);
        assert_eq!(client_frame(TEXT, &[0; 65_536])[..10], [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn masked_fragmented_and_extended_frames_are_errors() {
        for wrong in [[0x81, 0x80], [0x01, 0x01], [0x80, 0x01], [0xc1, 0x01]] {
            assert!(frame(&wrong).is_err(), "{wrong:x?}");
        }
        assert_eq!(frame(&[0x81]), Ok(None));
    }
}
