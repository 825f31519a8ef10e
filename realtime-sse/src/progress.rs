//! How far a stream's large events have arrived.

use std::sync::Arc;

use realtime_http::{Spans, Wire};

/// The size of a block above which it is looked after.
const LARGE: usize = 64 * 1024;
/// More than the head of the response has.
const HEAD: u32 = 8 * 1024;

/// The bytes of an HTTP/1 response that were handed to the server, beside those that the client's host has acknowledged.
pub(crate) struct Progress {
    wire: Arc<Wire>,
    /// What the kernel had taken before.
    base: u32,
    /// Whether each piece is framed (RFC 9112 §7.1).
    chunked: bool,
    /// This and all places wrap, as the wire's count does.
    handed: u32,
    large: Spans,
}

impl Progress {
    pub(crate) fn new(wire: Arc<Wire>, chunked: bool) -> Self {
        Self { base: wire.written(), wire, chunked, handed: 0, large: Spans::default() }
    }

    /// This piece goes to the server; `number` is that of its first block.
    pub(crate) fn hand(&mut self, number: u64, piece: &[u8]) {
        let begin = self.handed;
        let frame = if self.chunked { format!("{:X}\r\n\r\n", piece.len()).len() } else { 0 };
        self.handed = begin.wrapping_add((piece.len() + frame) as u32);
        if piece.len() > LARGE {
            self.large.push(number, begin.wrapping_add(HEAD), self.handed);
        }
    }

    /// The large block of which the client's host has acknowledged a part and not all.
    pub(crate) fn within(&self) -> Option<u64> {
        self.large.within(self.wire.acknowledged().wrapping_sub(self.base))
    }
}
