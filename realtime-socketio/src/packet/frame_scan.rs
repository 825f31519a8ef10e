use crate::packet::frame::{payload_len, whole_header};

/// Scanner of a websocket's bytes in one direction (RFC 6455 §5.2) for the ends of frames and the
/// sizes of messages. Payloads are skipped by their length.
#[derive(Clone, Default)]
pub(crate) struct FrameScan {
    header: [u8; 14],
    header_len: usize,
    /// Payload bytes of the current frame that are still missing.
    left: u64,
    /// Payload bytes of the current message, over all its fragments.
    message: u64,
    has_closed: bool,
}

impl FrameScan {
    /// Scans the next bytes. Returns the size of the largest message in them, as far as the size is
    /// known.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut largest = 0;
        while !bytes.is_empty() {
            let skip = self.left.min(bytes.len() as u64);
            if skip > 0 {
                self.left -= skip;
                // The bytes are in memory, so their number fits into usize.
                bytes = &bytes[skip as usize..];
                continue;
            }
            if self.header_len == 0
                && let Some((header, rest)) = whole_header(bytes)
            {
                largest = largest.max(self.begin_frame(header));
                bytes = rest;
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            let header = self.header;
            if let Some((header, _)) = whole_header(&header[..self.header_len]) {
                self.header_len = 0;
                largest = largest.max(self.begin_frame(header));
            }
        }
        largest
    }

    /// Returns whether the next byte begins a frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.header_len == 0 && self.left == 0
    }

    /// Returns the number of these bytes, the next ones, that belong to the current frame.
    pub(crate) fn left(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut header = 0;
        while ahead.header_len > 0 && header < bytes.len() {
            ahead.feed(&bytes[header..=header]);
            header += 1;
        }
        usize::try_from(ahead.left).map_or(bytes.len(), |left| bytes.len().min(header.saturating_add(left)))
    }

    /// Returns whether a close frame has started.
    pub(crate) fn has_closed(&self) -> bool {
        self.has_closed
    }

    fn begin_frame(&mut self, h: &[u8]) -> u64 {
        self.left = payload_len(h);
        match h[0] & 0x0f {
            8 => {
                self.has_closed = true;
                return 0;
            }
            0 => self.message = self.message.saturating_add(self.left),
            1 | 2 => self.message = self.left,
            // Control frames may be sent between the fragments of a message.
            _ => return 0,
        }
        self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a masked frame with `len` payload bytes.
    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match len {
            0..=125 => bytes.push(0x80 | len as u8),
            126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.resize(bytes.len() + len, 0x88);
        bytes
    }

    #[test]
    fn frame_end_is_found_for_all_length_encodings() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = [frame(0x81, len), frame(0x82, 3)].concat();
            let end = bytes.len() - frame(0x82, 3).len();
            for split in [1, 2, 5, end - 1] {
                let mut scan = FrameScan::default();
                let largest = scan.feed(&bytes[..split]).max(scan.feed(&bytes[split..end]));
                assert!(scan.at_boundary(), "{len} {split}");
                assert_eq!(largest, len as u64);
                scan.feed(&bytes[end..end + 1]);
                assert!(!scan.at_boundary());
            }
        }
    }

    #[test]
    fn rest_of_frame_is_known_at_any_split() {
        for len in [1, 126, 65_536] {
            let end = frame(0x81, len).len();
            let bytes = [frame(0x81, len), frame(0x82, 3)].concat();
            for split in (1..20).filter(|split| *split < end) {
                let mut scan = FrameScan::default();
                scan.feed(&bytes[..split]);
                assert_eq!(scan.left(&bytes[split..]), end - split, "{len} {split}");
                assert_eq!(scan.left(&bytes[split..split + 1]), 1, "{len} {split}");
            }
        }
    }

    #[test]
    fn message_size_is_sum_of_fragments_without_control_frames() {
        let mut scan = FrameScan::default();
        let bytes = [frame(0x01, 100), frame(0x89, 50), frame(0x00, 200), frame(0x80, 300)].concat();
        assert_eq!(scan.feed(&bytes), 600);
        assert_eq!(scan.feed(&frame(0x82, 10)), 10);
    }

    #[test]
    fn huge_frame_length_does_not_overflow() {
        let mut scan = FrameScan::default();
        scan.feed(&frame(0x01, 100));
        assert!(!scan.has_closed());
        let huge = [&[0x80, 0x80 | 127][..], &[0xff; 8], &[0; 4]].concat();
        assert_eq!(scan.feed(&huge), u64::MAX);
    }

    #[test]
    fn close_frame_is_detected() {
        let mut scan = FrameScan::default();
        assert_eq!(scan.feed(&[frame(0x81, 5), frame(0x88, 2)].concat()), 5);
        assert!(scan.has_closed());
    }
}
