//! How far a stream's large events have gone out.

use std::collections::VecDeque;
use std::sync::Arc;

use realtime_http::Wire;

/// The size of a block above which it is looked after.
const LARGE: usize = 64 * 1024;
/// More than the head of the response has.
const HEAD: u32 = 8 * 1024;
/// Large blocks that are remembered; the server takes no more before it is rid of the first ones.
const MAX_LARGE: usize = 16;

/// The bytes of an HTTP/1 response that were handed to the server, beside those that the kernel has taken.
pub(crate) struct Progress {
    wire: Arc<Wire>,
    /// What the kernel had taken before.
    base: u32,
    /// Whether each piece is framed (RFC 9112 §7.1).
    chunked: bool,
    /// These and all places wrap, as the wire's count does.
    handed: u32,
    large: VecDeque<Block>,
}

struct Block {
    number: u64,
    begin: u32,
    end: u32,
}

impl Progress {
    pub(crate) fn new(wire: Arc<Wire>, chunked: bool) -> Self {
        Self { base: wire.written(), wire, chunked, handed: 0, large: VecDeque::new() }
    }

    /// This piece goes to the server; `number` is that of its first block.
    pub(crate) fn hand(&mut self, number: u64, piece: &[u8]) {
        let begin = self.handed;
        let frame = if self.chunked { format!("{:X}\r\n\r\n", piece.len()).len() } else { 0 };
        self.handed = begin.wrapping_add((piece.len() + frame) as u32);
        if piece.len() > LARGE {
            if self.large.len() == MAX_LARGE {
                self.large.pop_front();
            }
            self.large.push_back(Block { number, begin, end: self.handed });
        }
    }

    /// The large block of which the kernel has taken a part and not all.
    pub(crate) fn within(&self) -> Option<u64> {
        let written = self.wire.written().wrapping_sub(self.base);
        let is_within =
            |block: &&Block| is_past(written, block.begin.wrapping_add(HEAD)) && is_past(block.end, written);
        self.large.iter().find(is_within).map(|block| block.number)
    }
}

/// Whether one place comes after another one that is less than 2 GiB away.
fn is_past(place: u32, other: u32) -> bool {
    (1..1 << 31).contains(&place.wrapping_sub(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_wrap() {
        for other in [0, u32::MAX - 1, 1 << 31] {
            assert!(is_past(other.wrapping_add(5), other));
            assert!(!is_past(other, other) && !is_past(other, other.wrapping_add(5)));
        }
    }
}
