//! Large WebSocket frames that the server has written only in part.

use realtime_wire::http::{Part, Responses};
use realtime_wire::websocket::Frames;

/// The size above which the event of a frame may be skipped.
pub(crate) const LARGE: usize = 64 * 1024;
/// The most bytes at the beginning of a frame that tell which event it is.
const BEGIN: usize = 300;

/// Follows the bytes that the server writes to one connection.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    responses: Responses,
    frames: Frames,
}

/// A frame of which a part was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartialFrame {
    /// The number of its event, if that is known.
    pub(crate) number: Option<u64>,
}

impl FrameTracker {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let Self { responses, frames } = self;
        // An error is none of this: the client reports what breaks its protocol.
        let _ = responses.feed(bytes, &mut |status, part| match part {
            Part::Data(data) if status == 101 => frames.feed(data, |_, _| Ok(())),
            _ => Ok(()),
        });
    }

    /// Returns the large frame that the server is in, or may be in.
    pub(crate) fn partial_frame(&self) -> Option<PartialFrame> {
        match self.frames.partial() {
            None => self.frames.is_incomplete().then_some(PartialFrame { number: None }),
            Some((size, begin)) => (size > LARGE).then(|| PartialFrame { number: number(begin) }),
        }
    }
}

fn number(begin: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(&begin[..begin.len().min(BEGIN)]);
    let (_, number) = text.split_once("\"n\":")?;
    let (number, _) = number.split_once([',', '}'])?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_frame_is_partial_between_its_first_and_last_byte() {
        let text = format!("{{\"n\":12,\"pad\":\"{}\"}}", "x".repeat(LARGE));
        let large = [&[0x81, 127][..], &(text.len() as u64).to_be_bytes(), text.as_bytes()].concat();
        let before = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x01a";
        let bytes = [before, &large[..], b"\x81\x01b"].concat();
        let (begin, end) = (before.len(), before.len() + large.len());
        let (some, known) = (Some(PartialFrame { number: None }), Some(PartialFrame { number: Some(12) }));
        for (written, expected) in [
            (begin - 3, None),
            (begin - 2, some),
            (begin - 1, None),
            (begin, None),
            (begin + 1, some),
            (begin + 10, some),
            (begin + 18, known),
            (end - 1, known),
            (end, None),
            (bytes.len(), None),
        ] {
            let mut frames = FrameTracker::default();
            bytes[..written].iter().for_each(|byte| frames.feed(&[*byte]));
            assert_eq!(frames.partial_frame(), expected, "{written}");
        }
    }

    #[test]
    fn other_protocols_have_no_partial_frames() {
        let mut frames = FrameTracker::default();
        frames.feed(b"HTTP/1.1 200 OK\r\n\r\n\x81\x7f");
        assert_eq!(frames.partial_frame(), None);
    }
}
