use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that were read to detect a protocol, and are to be read again.
#[derive(Default)]
pub(crate) struct Head(Option<Box<[u8]>>);

/// A stream that takes bytes back.
pub(crate) trait Unread {
    /// Puts bytes back, to be read before all others.
    fn unread(&mut self, bytes: &[u8]);
}

impl Head {
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        debug_assert!(self.0.is_none(), "bytes put back twice");
        if !bytes.is_empty() {
            self.0 = Some(bytes.into());
        }
    }

    /// Reads the bytes, and from the stream behind them; `None` if there are none.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        let head = self.0.take()?;
        let (now, later) = head.split_at(head.len().min(buf.remaining()));
        buf.put_slice(now);
        if !later.is_empty() {
            self.put_back(later);
            return Some(Poll::Ready(Ok(())));
        }
        // Read the rest of the request now: hyper doubles its buffer when it has to read twice.
        Some(match Pin::new(stream).poll_read(cx, buf) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        })
    }
}
