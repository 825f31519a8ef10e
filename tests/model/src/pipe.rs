//! The wire between a client and the server: two lanes of bytes in memory, which can be small, stall and be cut anywhere.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tap::{Amid, Tap};

/// How a wire behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PipeConfig {
    /// Bytes that each lane holds.
    pub(crate) bytes: usize,
    /// Whether the server's end takes many pieces in one write.
    pub(crate) vectored: bool,
    /// Whether the server reads a cut as an error, and not as the end of the stream.
    pub(crate) reset: bool,
}

#[derive(Debug)]
struct Pipe {
    config: PipeConfig,
    down: Lane,
    up: Lane,
    cut: bool,
    tap: Tap,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    bytes: VecDeque<u8>,
    /// Bytes that still pass before the wire is cut.
    left: Option<usize>,
    /// The server has shut it.
    ended: bool,
    waker: Option<Waker>,
}

impl Lane {
    /// Takes out up to `most` bytes, but none beyond the cut.
    fn take(&mut self, most: usize) -> Vec<u8> {
        let length = most.min(self.bytes.len()).min(self.left.unwrap_or(usize::MAX));
        if let Some(left) = &mut self.left {
            *left -= length;
        }
        self.bytes.drain(..length).collect()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Pipe {
    fn cut(&mut self) {
        self.cut = true;
        self.down.bytes.clear();
        self.up.bytes.clear();
        self.down.wake();
        self.up.wake();
    }

    /// Cuts the wire when the last byte that may pass has passed.
    fn check_cut(&mut self) {
        if self.down.left == Some(0) || self.up.left == Some(0) {
            self.cut();
        }
    }
}

/// The client's end. Dropping it cuts the wire.
#[derive(Debug)]
pub(crate) struct ClientEnd(Arc<Mutex<Pipe>>);

/// Tells how far the server has come on a wire, also when that is cut.
#[derive(Debug)]
pub(crate) struct Looker(Arc<Mutex<Pipe>>);

impl Looker {
    /// The large frame that the server is in, or was in when the wire was cut.
    pub(crate) fn amid(&self) -> Option<Amid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tap.amid()
    }
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct ServerEnd(Arc<Mutex<Pipe>>);

/// A new wire.
pub(crate) fn pipe(config: PipeConfig) -> (ClientEnd, ServerEnd) {
    let pipe = Arc::new(Mutex::new(Pipe {
        config,
        down: Lane::default(),
        up: Lane::default(),
        cut: false,
        tap: Tap::default(),
    }));
    (ClientEnd(Arc::clone(&pipe)), ServerEnd(pipe))
}

impl ClientEnd {
    /// Reads up to `most` bytes that are there.
    pub(crate) fn read(&self, most: usize) -> Vec<u8> {
        let mut pipe = self.lock();
        let bytes = pipe.down.take(most);
        if !bytes.is_empty() {
            pipe.down.wake();
            pipe.check_cut();
        }
        bytes
    }

    /// Writes what there is room for, and takes it out of `bytes`; whether anything went.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) -> bool {
        let mut pipe = self.lock();
        let length = bytes.len().min(pipe.config.bytes.saturating_sub(pipe.up.bytes.len()));
        if length == 0 || pipe.cut {
            return false;
        }
        pipe.up.bytes.extend(bytes.drain(..length));
        pipe.up.wake();
        true
    }

    pub(crate) fn looker(&self) -> Looker {
        Looker(Arc::clone(&self.0))
    }

    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        let pipe = self.lock();
        pipe.cut || (pipe.down.ended && pipe.down.bytes.is_empty())
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    /// Cuts the wire when so many more bytes have passed to the client, or to the server.
    pub(crate) fn cut_after(&self, down: Option<usize>, up: Option<usize>) {
        let mut pipe = self.lock();
        if down.is_some() {
            pipe.down.left = down;
        }
        if up.is_some() {
            pipe.up.left = up;
        }
        pipe.check_cut();
    }

    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.lock().cut();
    }
}

impl ServerEnd {
    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.lock();
        if pipe.cut {
            let error = pipe.config.reset.then(|| io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(error.map_or(Ok(()), Err));
        }
        let bytes = pipe.up.take(buf.remaining());
        if bytes.is_empty() {
            pipe.up.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(&bytes);
        pipe.check_cut();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.lock();
        if pipe.cut || pipe.down.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut room = pipe.config.bytes.saturating_sub(pipe.down.bytes.len());
        if room == 0 {
            pipe.down.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut written = 0;
        for piece in pieces {
            let length = piece.len().min(room);
            pipe.down.bytes.extend(&piece[..length]);
            pipe.tap.feed(&piece[..length]);
            room -= length;
            written += length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().config.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().down.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.lock().down.ended = true;
    }
}
