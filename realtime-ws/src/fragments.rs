//! Small fragments among a client's frames (RFC 6455 §5.4), which the reader of messages does not
//! show: one message may have any number of them, and each costs as much as a message.

/// The counter of a connection's continuation frames of up to 125 bytes.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// The payload bytes of the current frame that are still missing; in a header its length, as
    /// far as it was read. More than fit are more than any message may have.
    left: u32,
    /// The number of bytes of the current header that were read.
    read: u8,
    /// The number of bytes that its length has in addition to the first.
    extended: u8,
    /// The number of bytes of the whole header.
    header: u8,
    /// Set while the current frame is a continuation.
    continues: bool,
    found: u16,
}

impl Fragments {
    /// Counts in the next bytes, however they are split.
    pub(crate) fn count(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let [byte, others @ ..] = rest {
            if self.read == 0 && self.left > 0 {
                let skipped = self.left.min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
                self.left -= skipped;
                rest = &rest[skipped as usize..];
            } else {
                self.read_header(*byte);
                rest = others;
            }
        }
    }

    /// Returns the number since the last call.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.found).into()
    }

    fn read_header(&mut self, byte: u8) {
        self.read += 1;
        match self.read {
            1 => {
                self.continues = byte & 0x0f == 0;
                self.header = 2;
            }
            2 => {
                let length = byte & 0x7f;
                self.extended = match length {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                self.left = if self.extended == 0 { length.into() } else { 0 };
                self.header = 2 + self.extended + if byte & 0x80 == 0 { 0 } else { 4 };
                self.found = self.found.saturating_add(u16::from(self.continues && self.extended == 0));
            }
            read if read <= 2 + self.extended => {
                self.left = self.left.checked_mul(256).map_or(u32::MAX, |left| left | u32::from(byte));
            }
            _ => {}
        }
        if self.read == self.header {
            self.read = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a masked frame of zeros.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..126 => bytes.push(0x80 | length as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + length, 0);
        bytes
    }

    #[test]
    fn small_fragments_are_counted_at_any_split() {
        let bytes = [
            frame(0x01, 0),
            frame(0x00, 0),
            frame(0x89, 3),
            frame(0x00, 125),
            frame(0x00, 126),
            frame(0x00, 70_000),
            frame(0x80, 1),
            frame(0x81, 10),
            frame(0x82, 0),
        ]
        .concat();
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let mut fragments = Fragments::default();
            bytes.chunks(size).for_each(|part| fragments.count(part));
            assert_eq!((fragments.take(), fragments.take(), fragments.read, fragments.left), (3, 0, 0, 0), "{size}");
        }
    }
}
