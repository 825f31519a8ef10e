//! A connection between a client and the server: two directions of bytes in memory, which can be
//! small, stall and break after any byte.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame_probe::{FrameTracker, PartialFrame};
use crate::lock;

/// The configuration of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PipeConfig {
    /// The capacity of each direction in bytes.
    pub(crate) bytes: usize,
    /// `true` if the server's end accepts several slices in one write.
    pub(crate) vectored: bool,
    /// `true` if the server reads a broken connection as an error, and not as EOF.
    pub(crate) reset: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    config: PipeConfig,
    /// To the client.
    down: Direction,
    /// To the server.
    up: Direction,
    broken: bool,
    frames: FrameTracker,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    /// The number of bytes that still pass before the connection breaks.
    left: Option<usize>,
    /// Set when the server has shut it down.
    ended: bool,
    waker: Option<Waker>,
}

impl Direction {
    /// Takes up to `most` bytes, but none beyond the break.
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
    fn break_off(&mut self) {
        self.broken = true;
        self.down.bytes.clear();
        self.up.bytes.clear();
        self.down.wake();
        self.up.wake();
    }

    /// Breaks the connection when the last byte that may pass has passed.
    fn check_limit(&mut self) {
        if self.down.left == Some(0) || self.up.left == Some(0) {
            self.break_off();
        }
    }
}

/// The client's end. Dropping it breaks the connection.
#[derive(Debug)]
pub(crate) struct ClientEnd(Arc<Mutex<Pipe>>);

/// An observer of the frames on a connection, which outlives it.
#[derive(Debug)]
pub(crate) struct FrameProbe(Arc<Mutex<Pipe>>);

impl FrameProbe {
    /// Returns the large frame that the server is in, or was in when the connection broke.
    pub(crate) fn partial_frame(&self) -> Option<PartialFrame> {
        lock(&self.0).frames.partial_frame()
    }
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct ServerEnd(Arc<Mutex<Pipe>>);

/// Creates a connection.
pub(crate) fn pipe(config: PipeConfig) -> (ClientEnd, ServerEnd) {
    let pipe = Arc::new(Mutex::new(Pipe { config, ..Pipe::default() }));
    (ClientEnd(Arc::clone(&pipe)), ServerEnd(pipe))
}

impl ClientEnd {
    /// Reads up to `most` of the bytes that have arrived.
    pub(crate) fn read(&self, most: usize) -> Vec<u8> {
        let mut pipe = lock(&self.0);
        let bytes = pipe.down.take(most);
        if !bytes.is_empty() {
            pipe.down.wake();
            pipe.check_limit();
        }
        bytes
    }

    /// Writes what there is room for, and removes it from `bytes`; returns whether that was
    /// anything.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) -> bool {
        let mut pipe = lock(&self.0);
        let length = bytes.len().min(pipe.config.bytes.saturating_sub(pipe.up.bytes.len()));
        if length == 0 || pipe.broken {
            return false;
        }
        pipe.up.bytes.extend(bytes.drain(..length));
        pipe.up.wake();
        true
    }

    pub(crate) fn probe(&self) -> FrameProbe {
        FrameProbe(Arc::clone(&self.0))
    }

    /// Returns whether nothing more can arrive.
    pub(crate) fn is_closed(&self) -> bool {
        let pipe = lock(&self.0);
        pipe.broken || (pipe.down.ended && pipe.down.bytes.is_empty())
    }

    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.0).broken
    }

    /// Breaks the connection when this many more bytes have passed to the server, or to the client.
    pub(crate) fn break_after(&self, up: bool, bytes: usize) {
        let mut pipe = lock(&self.0);
        let direction = if up { &mut pipe.up } else { &mut pipe.down };
        direction.left = Some(bytes);
        pipe.check_limit();
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        lock(&self.0).break_off();
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        if pipe.broken {
            let error = pipe.config.reset.then(|| io::ErrorKind::ConnectionReset.into());
            return Poll::Ready(error.map_or(Ok(()), Err));
        }
        let bytes = pipe.up.take(buf.remaining());
        if bytes.is_empty() {
            pipe.up.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(&bytes);
        pipe.check_limit();
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
        let mut pipe = lock(&self.0);
        if pipe.broken || pipe.down.ended {
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
            pipe.frames.feed(&piece[..length]);
            room -= length;
            written += length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).config.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).down.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        lock(&self.0).down.ended = true;
    }
}
