//! The socket of one connection, with its protocol and writer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use realtime_core::spi::Registration;
use realtime_http::Wire;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::codec::WsCodec;
use crate::protocol::Protocol;
use crate::settings::{MAX_READ, Settings};
use crate::writer::Writer;

/// The parts of a connection that both states use.
pub(super) struct Socket<S> {
    pub(super) io: S,
    pub(super) settings: Arc<Settings>,
    pub(super) registration: Registration<WsCodec>,
    pub(super) protocol: Protocol,
    pub(super) writer: Writer,
    /// The TCP connection below, where the listener provides it.
    pub(super) wire: Option<Arc<Wire>>,
}

/// The outcome of one round.
pub(super) enum Turn {
    /// Another round: there may be more to do.
    Again,
    /// A wait: nothing can be done before the task is woken.
    Wait,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Reads once from the stream, and gives the bytes to the protocol if `feed` says so. Until
    /// then they are on the stack, so that no buffer is held while there are none.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>, feed: bool) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); MAX_READ];
        let mut buffer = ReadBuf::uninit(&mut space[..self.settings.read_bytes]);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if feed && !bytes.is_empty() {
            self.protocol.feed(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Returns the time by which a close that begins now has to be done.
    pub(super) fn close_at(&self) -> Option<Instant> {
        Instant::now().checked_add(self.settings.close_timeout)
    }
}

/// Returns whether a deadline has passed.
pub(super) fn is_over(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}
