use bytes::Bytes;

use crate::packet::payload::SEPARATOR;
use crate::packet::preface::{self, Preface};

/// Mends the packets of a POST, which come in pieces.
#[derive(Default)]
pub(crate) struct PacketMender {
    /// The begin of a packet that does not tell yet.
    held: Vec<u8>,
    /// The present packet has told.
    told: bool,
}

impl PacketMender {
    /// What this piece of a packet, or its end, is to be replaced by; none while it is held back.
    pub(crate) fn feed(&mut self, piece: Bytes, is_end: bool) -> Option<Bytes> {
        let is_end = is_end || piece.last() == Some(&SEPARATOR);
        if self.told {
            self.told = !is_end;
            return Some(piece);
        }
        let piece =
            if self.held.is_empty() { piece } else { [&std::mem::take(&mut self.held)[..], &piece].concat().into() };
        let packet = piece.strip_suffix(&[SEPARATOR]).unwrap_or(&piece);
        let mended = match preface::read(packet) {
            Preface::Open if !is_end => {
                self.held = piece.into();
                return None;
            }
            Preface::Mended(of, mended) => [&mended, &piece[of..]].concat().into(),
            Preface::Open | Preface::Plain => piece,
        };
        self.told = !is_end;
        Some(mended)
    }

    /// Whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_post_are_mended_wherever_its_chunks_are_cut() {
        let packets = ["42[7]\x1e", "42[\"a\"]\x1e", "\x1e", "b42[7]\x1e", "43[1]"];
        let expected = "42[\"\",7]\x1e42[\"a\"]\x1e\x1eb42[7]\x1e439223372036854775807[1]";
        for size in 1..10 {
            let mut mender = PacketMender::default();
            let mut out = Vec::new();
            for packet in packets {
                for piece in packet.as_bytes().chunks(size) {
                    out.extend(mender.feed(Bytes::copy_from_slice(piece), false).unwrap_or_default());
                }
            }
            out.extend(mender.feed(Bytes::new(), true).unwrap_or_default());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }
}
