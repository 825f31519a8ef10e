//! Format of a websocket's frames (RFC 6455 §5.2).

/// First byte of a text message of one frame.
pub(crate) const TEXT: u8 = 0x81;

/// Header of one frame.
pub(crate) struct Header {
    /// The first byte: the FIN bit, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) masked: bool,
    /// The header's own length, in bytes.
    pub(crate) len: usize,
    /// The masking key; zeros if the frame is not masked.
    pub(crate) key: [u8; 4],
    /// The payload's length, in bytes.
    pub(crate) payload: u64,
}

/// Splits the header off these bytes; none when the header is incomplete.
pub(crate) fn whole_header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let second = bytes.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    bytes.split_at_checked(2 + length + mask)
}

/// Returns the length of the payload from a complete header.
pub(crate) fn payload_len(h: &[u8]) -> u64 {
    match h[1] & 0x7f {
        126 => u16::from_be_bytes([h[2], h[3]]).into(),
        127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
        len => len.into(),
    }
}

/// Returns the first frame of these bytes if it is complete and not masked: its first byte, its
/// payload, and its length.
pub(crate) fn whole_frame(frames: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (header, rest) = whole_header(frames)?;
    let len = usize::try_from(payload_len(header)).ok()?;
    Some((header[0], rest.get(..len)?, header.len() + len))
}

/// Returns the payload of the first frame and the frame's length, if that is a complete text
/// message.
pub(crate) fn first_text(frames: &[u8]) -> Option<(&[u8], usize)> {
    whole_frame(frames).filter(|(first, ..)| *first == TEXT).map(|(_, payload, len)| (payload, len))
}

/// Encodes a text message as one frame that is not masked.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match text.len() {
        len @ 0..=125 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}

impl Header {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (h, _) = whole_header(bytes)?;
        let len = h.len();
        let masked = h[1] & 0x80 != 0;
        let payload = payload_len(h);
        let key = if masked { [h[len - 4], h[len - 3], h[len - 2], h[len - 1]] } else { [0; 4] };
        Some(Self { first: h[0], masked, len, key, payload })
    }

    pub(crate) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Returns the payload bytes of the message up to the end of this frame, with `before` bytes in
    /// its previous frames.
    pub(crate) fn message_after(&self, before: u64) -> u64 {
        match self.opcode() {
            0 => before.saturating_add(self.payload),
            1 | 2 => self.payload,
            // Control frames may be sent between the fragments of a message.
            _ => before,
        }
    }

    /// Appends a complete frame, masked with zeros if this one is masked, so that an unmasked one
    /// is still rejected.
    pub(crate) fn push_frame(&self, first: u8, payload: &[u8], into: &mut Vec<u8>) {
        self.push_header(first, payload.len() as u64, [0; 4], into);
        into.extend_from_slice(payload);
    }

    /// Appends the header of the rest of this frame, as a continuation.
    pub(crate) fn push_rest(&self, taken: usize, left: u64, into: &mut Vec<u8>) {
        let mut key = self.key;
        key.rotate_left(taken % 4);
        self.push_header(self.first & 0x80, left, key, into);
    }

    pub(crate) fn push_header(&self, first: u8, len: u64, key: [u8; 4], into: &mut Vec<u8>) {
        let mask = if self.masked { 0x80 } else { 0 };
        into.push(first);
        match len {
            0..=125 => into.push(mask | len as u8),
            126..=0xffff => {
                into.push(mask | 126);
                into.extend((len as u16).to_be_bytes());
            }
            len => {
                into.push(mask | 127);
                into.extend(len.to_be_bytes());
            }
        }
        if self.masked {
            into.extend(key);
        }
    }
}
