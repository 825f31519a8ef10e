//! How far the server has come with a large frame of a websocket.

/// The size of a frame above which its event may be passed over.
pub(crate) const LARGE: usize = 64 * 1024;
/// What tells of a frame which event it is.
const BEGIN: usize = 300;

/// Follows what the server writes to one wire.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    stage: Stage,
    /// The head of the response, or the header of a frame, as far as it was written.
    head: Vec<u8>,
    size: usize,
    /// Bytes of the present frame that are still to come.
    left: usize,
    begin: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    Frames,
    #[default]
    Head,
    /// No websocket.
    Other,
}

/// A frame of which a part was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amid {
    /// The number of its event, if that can be told.
    pub(crate) number: Option<u64>,
}

impl Tap {
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

    /// The server's frames are not masked (RFC 6455 §5.2).
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

    /// The large frame that the server is in, or may be in.
    pub(crate) fn amid(&self) -> Option<Amid> {
        if self.stage != Stage::Frames {
            return None;
        }
        let begun = self.left > 0 && self.size > LARGE;
        (begun || !self.head.is_empty()).then(|| Amid { number: self.number().filter(|_| begun) })
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
    fn the_large_frame_that_the_server_is_in_is_known() {
        let text = format!("{{\"n\":12,\"pad\":\"{}\"}}", "x".repeat(LARGE));
        let large = [&[0x81, 127][..], &(text.len() as u64).to_be_bytes(), text.as_bytes()].concat();
        let before = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x01a";
        let bytes = [before, &large[..], b"\x81\x01b"].concat();
        let (begin, end) = (before.len(), before.len() + large.len());
        let (some, ours) = (Some(Amid { number: None }), Some(Amid { number: Some(12) }));
        for (written, expected) in [
            (begin - 3, None),
            (begin - 2, some),
            (begin - 1, None),
            (begin, None),
            (begin + 1, some),
            (begin + 10, some),
            (begin + 18, ours),
            (end - 1, ours),
            (end, None),
            (bytes.len(), None),
        ] {
            let mut tap = Tap::default();
            bytes[..written].iter().for_each(|byte| tap.feed(&[*byte]));
            assert_eq!(tap.amid(), expected, "{written}");
        }
    }

    #[test]
    fn what_is_no_websocket_is_never_amid() {
        let mut tap = Tap::default();
        tap.feed(b"HTTP/1.1 200 OK\r\n\r\n\x81\x7f");
        assert_eq!(tap.amid(), None);
    }
}
