use bytes::Bytes;

use crate::packet::payload::SEPARATOR;
use crate::packet::rewrite::{self, Rewrite};

/// Rewriter of the packets of a POST, which arrive in pieces.
#[derive(Default)]
pub(crate) struct PacketRewriter {
    /// Start of a packet, too short to decide.
    held: Vec<u8>,
    /// Set once the current packet was decided on.
    decided: bool,
}

impl PacketRewriter {
    /// Returns this piece of a packet, or its replacement; none while it is held back.
    pub(crate) fn feed(&mut self, piece: Bytes, is_end: bool) -> Option<Bytes> {
        let is_end = is_end || piece.last() == Some(&SEPARATOR);
        if self.decided {
            self.decided = !is_end;
            return Some(piece);
        }
        let piece =
            if self.held.is_empty() { piece } else { [&std::mem::take(&mut self.held)[..], &piece].concat().into() };
        let packet = piece.strip_suffix(&[SEPARATOR]).unwrap_or(&piece);
        let rewritten = match rewrite::decide(packet) {
            Rewrite::Incomplete if !is_end => {
                self.held = piece.into();
                return None;
            }
            Rewrite::Replaced(replaced_len, rewritten) => [&rewritten, &piece[replaced_len..]].concat().into(),
            Rewrite::Incomplete | Rewrite::Unchanged => piece,
        };
        self.decided = !is_end;
        Some(rewritten)
    }

    /// Returns whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_post_are_rewritten_at_any_split_of_chunks() {
        let packets = ["42[7]\x1e", "42[\"a\"]\x1e", "\x1e", "b42[7]\x1e", "43[1]"];
        let expected = "42[\"\",7]\x1e42[\"a\"]\x1e\x1eb42[7]\x1e439223372036854775807[1]";
        for size in 1..10 {
            let mut rewriter = PacketRewriter::default();
            let mut out = Vec::new();
            for packet in packets {
                for piece in packet.as_bytes().chunks(size) {
                    out.extend(rewriter.feed(Bytes::copy_from_slice(piece), false).unwrap_or_default());
                }
            }
            out.extend(rewriter.feed(Bytes::new(), true).unwrap_or_default());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{size}");
        }
    }
}
