//! Large WebSocket frames that the server has written only in part.

/// The size above which the event of a frame may be skipped.
pub(crate) const LARGE: usize = 64 * 1024;
/// The number of bytes at the beginning of a frame that tell which event it is.
const BEGIN: usize = 300;

/// Follows the bytes that the server writes to one connection.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    stage: Stage,
    /// The head of the response, or the header of a frame, as far as it was written.
    head: Vec<u8>,
    size: usize,
    /// The number of bytes of the current frame that are still to come.
    left: usize,
    begin: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    Frames,
    #[default]
    Head,
    /// Not a websocket.
    Other,
}

/// A frame of which a part was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartialFrame {
    /// The number of its event, if that is known.
    pub(crate) number: Option<u64>,
}

impl FrameTracker {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let [first, others @ ..] = rest {
            match self.stage {
                Stage::Other => return,
                Stage::Head => {
                    self.head.push(*first);
                    if self.head.ends_with(b"\r\n\r\n") {
                        let is_websocket = self.head.starts_with(b"HTTP/1.1 101");
                        self.stage = if is_websocket { Stage::Frames } else { Stage::Other };
                        self.head.clear();
                    }
                    rest = others;
                }
                Stage::Frames if self.left == 0 => {
                    self.head.push(*first);
                    self.begin_frame();
                    rest = others;
                }
                Stage::Frames => {
                    let run = self.left.min(rest.len());
                    let known = run.min(BEGIN - self.begin.len());
                    self.begin.extend_from_slice(&rest[..known]);
                    self.left -= run;
                    rest = &rest[run..];
                }
            }
        }
    }

    /// Reads the header of a frame, which is not masked by a server (RFC 6455 §5.2).
    fn begin_frame(&mut self) {
        let size = match self.head[..] {
            [_, length @ 0..126] => length.into(),
            [_, 126, high, low] => u16::from_be_bytes([high, low]).into(),
            [_, 127, _, _, _, _, a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
            _ => return,
        };
        (self.size, self.left) = (size, size);
        self.head.clear();
        self.begin.clear();
    }

    /// Returns the large frame that the server is in, or may be in.
    pub(crate) fn partial_frame(&self) -> Option<PartialFrame> {
        if self.stage != Stage::Frames {
            return None;
        }
        let begun = self.left > 0 && self.size > LARGE;
        (begun || !self.head.is_empty()).then(|| PartialFrame { number: self.number().filter(|_| begun) })
    }

    fn number(&self) -> Option<u64> {
        let text = String::from_utf8_lossy(&self.begin);
        let (_, number) = text.split_once("\"n\":")?;
        let (number, _) = number.split_once([',', '}'])?;
        number.parse().ok()
    }
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
