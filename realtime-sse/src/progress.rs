//! The progress of a stream's large events: how much of them has arrived.

use std::sync::Arc;

use realtime_http::Wire;
use realtime_http::spi::Spans;

/// The size of a block, in bytes, above which its progress is followed.
const LARGE: usize = 64 * 1024;
/// An upper bound of the size of the response's head, in bytes.
const HEAD: u32 = 8 * 1024;

/// The bytes of an HTTP/1 response that were passed to the server, compared with those that the
/// client's host has acknowledged.
pub(crate) struct Progress {
    wire: Arc<Wire>,
    /// The number of bytes that the kernel had accepted before.
    base: u32,
    /// `true` if each piece is framed (RFC 9112 §7.1).
    chunked: bool,
    /// The number of bytes passed; this and all positions wrap, as the wire's count does.
    passed: u32,
    large: Spans,
}

impl Progress {
    pub(crate) fn new(wire: Arc<Wire>, chunked: bool) -> Self {
        Self { base: wire.written(), wire, chunked, passed: 0, large: Spans::default() }
    }

    /// Notes a piece that is passed to the server; `number` is that of the first block in it.
    pub(crate) fn note(&mut self, number: u64, piece: &[u8]) {
        let begin = self.passed;
        let frame = if self.chunked { format!("{:X}\r\n\r\n", piece.len()).len() } else { 0 };
        self.passed = begin.wrapping_add((piece.len() + frame) as u32);
        if piece.len() > LARGE {
            self.large.push(number, begin.wrapping_add(HEAD), self.passed);
        }
    }

    /// Returns the large block of which the client's host has acknowledged a part and not all.
    pub(crate) fn within(&self) -> Option<u64> {
        self.large.within(self.wire.acknowledged().wrapping_sub(self.base))
    }
}
