use crate::packet::frame::whole_header;
use crate::packet::head::{Head, HeadScan};

/// Scan of a websocket's bytes in one direction for packets of Engine.IO, wherever frames, messages and reads are cut.
#[derive(Default)]
pub(crate) struct PacketScan {
    header: [u8; 14],
    have: usize,
    /// Payload bytes of the present frame that are still to come, and that have come.
    left: u64,
    at: u64,
    /// Masking key of the payload (RFC 6455 §5.3); zeros if it is not masked.
    key: [u8; 4],
    /// The present frame is a part of a text.
    reads: bool,
    /// The present frame is the last one of a message.
    last: bool,
    /// A message of more than one frame is under way, and whether it is a text.
    open: Option<bool>,
    /// A text has ended with a frame without a payload.
    ended: bool,
    head: HeadScan,
}

/// Result of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame starts whose payload has so many bytes.
    Frame(u64),
    Packet(Head),
}

impl PacketScan {
    /// Scans bytes up to the next result. Returns their number and the result. The scan is at the end of these bytes only when all
    /// were scanned and [`PacketScan::is_done`].
    pub(crate) fn next(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        if std::mem::take(&mut self.ended) {
            return (0, self.head.end().map(Found::Packet));
        }
        if self.left == 0 { self.next_header(bytes) } else { self.next_payload(bytes) }
    }

    /// Returns whether nothing can be found without more bytes.
    pub(crate) fn is_done(&self) -> bool {
        !self.ended
    }

    /// Returns whether the next byte starts a message or a control frame between two messages.
    pub(crate) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0 && self.open.is_none() && !self.ended
    }

    fn next_header(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        for (before, byte) in bytes.iter().enumerate() {
            self.header[self.have] = *byte;
            self.have += 1;
            if let Some((header, _)) = whole_header(&self.header[..self.have]) {
                let len = header.len();
                self.begin(len);
                return (before + 1, Some(Found::Frame(self.left)));
            }
        }
        (bytes.len(), None)
    }

    fn begin(&mut self, len: usize) {
        let h = &self.header;
        self.have = 0;
        self.at = 0;
        self.left = match h[1] & 0x7f {
            126 => u16::from_be_bytes([h[2], h[3]]).into(),
            127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
            length => length.into(),
        };
        self.key = if h[1] & 0x80 != 0 { [h[len - 4], h[len - 3], h[len - 2], h[len - 1]] } else { [0; 4] };
        let (opcode, last) = (h[0] & 0x0f, h[0] & 0x80 != 0);
        if opcode >= 8 {
            // Control frames come between the fragments of a message.
            (self.reads, self.last) = (false, false);
            return;
        }
        let text = match opcode {
            0 => self.open.unwrap_or_default(),
            opcode => opcode == 1,
        };
        if opcode != 0 {
            self.head = HeadScan::default();
        }
        (self.reads, self.last) = (text, last);
        self.open = (!last).then_some(text);
        self.ended = text && last && self.left == 0;
    }

    fn next_payload(&mut self, bytes: &[u8]) -> (usize, Option<Found>) {
        // What is here fits into memory, so its length fits into usize.
        let run = self.left.min(bytes.len() as u64) as usize;
        let (key, at) = (self.key, self.at as usize);
        let payload = bytes[..run].iter().enumerate().map(|(i, byte)| byte ^ key[(at.wrapping_add(i)) % 4]);
        let fed = if self.reads { self.head.feed(payload) } else { None };
        let (taken, head) = match fed {
            Some((taken, head)) => (taken, Some(head)),
            None => (run, None),
        };
        self.left -= taken as u64;
        self.at = self.at.wrapping_add(taken as u64);
        let over = self.left == 0 && self.reads && self.last;
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

    /// The packets in these pieces.
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
    fn packets_are_found_wherever_the_wire_is_cut() {
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
            for cut in 0..bytes.len() {
                assert_eq!(packets([&bytes[..cut], &bytes[cut..]]), expected, "{cut}");
            }
        }
    }

    #[test]
    fn a_payload_is_told_with_its_header() {
        let mut scan = PacketScan::default();
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &[0; 4]].concat();
        assert_eq!(scan.next(&huge), (14, Some(Found::Frame(u64::MAX))));
        assert_eq!(scan.next(b"42"), (2, Some(Found::Packet(Head::Other))));
    }
}
