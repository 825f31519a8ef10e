use realtime_core::spi::MeteredKind;

use crate::packet::frame::{payload_len, whole_header};
use crate::packet::head::{Head, HeadScan};

/// Scanner of a websocket's bytes in one direction for packets of Engine.IO, however they are split
/// into frames and reads.
#[derive(Default)]
pub(crate) struct PacketScan {
    header: [u8; 14],
    header_len: usize,
    /// Payload bytes of the current frame that are still missing.
    left: u64,
    /// Payload bytes of the current frame that were scanned.
    offset: u64,
    /// Masking key of the payload (RFC 6455 §5.3); zeros if it is not masked.
    key: [u8; 4],
    /// Set while the current frame is a part of a text.
    is_text: bool,
    /// Set while the current frame is the last one of a message.
    last: bool,
    /// Set while a message of more than one frame is incomplete; `true` if that is a text.
    open_message: Option<bool>,
    /// The kind of the last frame, if it counts as a packet by itself.
    alone: Option<MeteredKind>,
    /// Set when a text ends with a frame without a payload.
    ended_empty: bool,
    head: HeadScan,
}

/// Payload of a fragment, in bytes, up to which its length is in the second byte of its header.
const SMALL_FRAGMENT: u64 = 125;

/// Result of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The start of a frame, with the length of its payload in bytes.
    Frame(u64),
    Packet(Head),
}

impl PacketScan {
    /// Scans bytes up to the next result. Returns their number and the result. The scanner has
    /// reached the end of these bytes only when all were scanned and [`PacketScan::is_done`].
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        if std::mem::take(&mut self.ended_empty) {
            return (0, self.head.end().map(Found::Packet));
        }
        if self.left == 0 { self.next_header(bytes) } else { self.next_payload(bytes) }
    }

    /// Returns the kind of the frame that was found last if it counts as a packet by itself: an
    /// attachment, a control frame, a small fragment. A text is counted as the packet in it.
    pub(crate) fn alone(&self) -> Option<MeteredKind> {
        self.alone
    }

    /// Returns whether nothing can be found without more bytes.
    pub(crate) fn is_done(&self) -> bool {
        !self.ended_empty
    }

    /// Returns whether the next byte starts a message or a control frame between two messages.
    pub(crate) fn is_between(&self) -> bool {
        self.header_len == 0 && self.left == 0 && self.open_message.is_none() && !self.ended_empty
    }

    fn next_header(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        for (before, byte) in bytes.iter().enumerate() {
            self.header[self.header_len] = *byte;
            self.header_len += 1;
            if let Some((header, _)) = whole_header(&self.header[..self.header_len]) {
                let len = header.len();
                self.begin(len);
                return (before + 1, Some(Found::Frame(self.left)));
            }
        }
        (bytes.len(), None)
    }

    fn begin(&mut self, len: usize) {
        let h = &self.header;
        self.header_len = 0;
        self.offset = 0;
        self.left = payload_len(h);
        self.key = if h[1] & 0x80 != 0 { [h[len - 4], h[len - 3], h[len - 2], h[len - 1]] } else { [0; 4] };
        let (opcode, last) = (h[0] & 0x0f, h[0] & 0x80 != 0);
        self.alone = match opcode {
            0 if self.left <= SMALL_FRAGMENT => Some(MeteredKind::Fragment),
            0 | 1 => None,
            2..8 => Some(MeteredKind::Event),
            _ => Some(MeteredKind::Control),
        };
        if opcode >= 8 {
            // Control frames may be sent between the fragments of a message.
            (self.is_text, self.last) = (false, false);
            return;
        }
        let text = match opcode {
            0 => self.open_message.unwrap_or_default(),
            opcode => opcode == 1,
        };
        if opcode != 0 {
            self.head = HeadScan::default();
        }
        (self.is_text, self.last) = (text, last);
        self.open_message = (!last).then_some(text);
        self.ended_empty = text && last && self.left == 0;
    }

    fn next_payload(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        // The bytes are in memory, so their number fits into usize.
        let run = self.left.min(bytes.len() as u64) as usize;
        let (key, at) = (self.key, self.offset as usize);
        let payload = bytes[..run].iter().enumerate().map(|(i, byte)| byte ^ key[(at.wrapping_add(i)) % 4]);
        let fed = if self.is_text { self.head.feed(payload) } else { None };
        let (taken, head) = match fed {
            Some((taken, head)) => (taken, Some(head)),
            None => (run, None),
        };
        self.left -= taken as u64;
        self.offset = self.offset.wrapping_add(taken as u64);
        let over = self.left == 0 && self.is_text && self.last;
        let end = if over { self.head.end() } else { None };
        (taken, head.or(end).map(Found::Packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &str, key: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![first];
        let mask = if key.is_some() { 0x80 } else { 0 };
        match payload.len() {
            0..=125 => bytes.push(mask | payload.len() as u8),
            len => {
                bytes.push(mask | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
        }
        bytes.extend(key.into_iter().flatten());
        let key = key.unwrap_or_default();
        bytes.extend(payload.bytes().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
        bytes
    }

    /// Returns the packets in these pieces.
    fn packets<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Head> {
        let mut scan = PacketScan::default();
        let mut heads = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() || !scan.is_done() {
                let (taken, found) = scan.next(piece);
                piece = &piece[taken..];
                if let Some(Found::Packet(head)) = found {
                    heads.push(head);
                }
            }
        }
        assert!(scan.is_between());
        heads
    }

    #[test]
    fn packets_are_found_at_any_split_of_reads() {
        let own = Head::Connect(Some(b"/own".as_slice().into()));
        let long = format!("42[\"{}\"]", "x".repeat(300));
        for key in [None, Some([0x34, 0x30, 0, 0xff])] {
            let bytes = [
                frame(0x81, "40", key),
                frame(0x01, "4", key),
                frame(0x89, "40", key),
                frame(0x00, "", key),
                frame(0x00, "0/ow", key),
                frame(0x80, "n,{}", key),
                frame(0x82, "40", key),
                frame(0x81, &long, key),
                frame(0x02, "4", key),
                frame(0x80, "0", key),
                frame(0x01, "40/own", key),
                frame(0x80, "", key),
                frame(0x81, "", key),
                frame(0x81, "3", key),
            ]
            .concat();
            let expected = [Head::Connect(None), own.clone(), Head::Other, own.clone(), Head::Other, Head::Pong];
            assert_eq!(packets([&bytes[..]]), expected);
            assert_eq!(packets(bytes.chunks(1)), expected, "a byte at a time");
            for split in 0..bytes.len() {
                assert_eq!(packets([&bytes[..split], &bytes[split..]]), expected, "{split}");
            }
        }
    }

    #[test]
    fn frames_outside_texts_and_small_fragments_count_alone() {
        let long = "x".repeat(126);
        let cases = [
            (0x81, "40", None),
            (0x82, "a", Some(MeteredKind::Event)),
            (0x89, "", Some(MeteredKind::Control)),
            (0x8a, "", Some(MeteredKind::Control)),
            (0x01, "4", None),
            (0x00, "", Some(MeteredKind::Fragment)),
            (0x00, &long, None),
            (0x80, "0", Some(MeteredKind::Fragment)),
        ];
        let mut scan = PacketScan::default();
        for (first, payload, alone) in cases {
            let bytes = frame(first, payload, Some([1, 2, 3, 4]));
            let mut rest = &bytes[..];
            let mut found = None;
            while !rest.is_empty() {
                let (taken, next) = scan.next(rest);
                if matches!(next, Some(Found::Frame(_))) {
                    found = Some(scan.alone());
                }
                rest = &rest[taken..];
            }
            assert_eq!(found, Some(alone), "{first:x} {payload}");
        }
    }

    #[test]
    fn payload_length_is_found_with_the_header() {
        let mut scan = PacketScan::default();
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &[0; 4]].concat();
        assert_eq!(scan.next(&huge), (14, Some(Found::Frame(u64::MAX))));
        assert_eq!(scan.next(b"42"), (2, Some(Found::Packet(Head::Other))));
    }
}
