//! The bytes of the application on a TLS connection.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
};
use tokio_rustls::server::TlsStream;

use crate::guard::GuardedStream;
use crate::head::{Head, Unread};
use crate::wire::Wire;

/// The TLS stream over a guarded one: stalls, pauses and rates are those of the encrypted bytes,
/// positions those of the application's.
pub(crate) struct Secured {
    tls: TlsStream<GuardedStream>,
    wire: Arc<Wire>,
    head: Head,
    /// Set when our side has begun to end.
    is_shut: bool,
}

impl Secured {
    /// Wraps a stream after its handshake.
    pub(super) fn new(tls: TlsStream<GuardedStream>) -> Self {
        let wire = Arc::clone(tls.get_ref().0.wire());
        wire.begin_records();
        Self { tls, wire, head: Head::default(), is_shut: false }
    }

    /// Notes bytes that rustls has taken.
    fn note<T>(&self, polled: &Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) {
        if let Poll::Ready(Ok(taken)) = polled {
            self.wire.note_records(bytes(taken), !self.tls.get_ref().1.wants_write());
        }
    }
}

impl Unread for Secured {
    fn unread(&mut self, bytes: &[u8]) {
        self.head.put_back(bytes);
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(polled) = this.head.poll_read(&mut this.tls, cx, buf) {
            return polled;
        }
        Pin::new(&mut this.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tls).poll_write(cx, buf);
        self.note(&polled, |bytes| *bytes);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tls).poll_write_vectored(cx, bufs);
        self.note(&polled, |bytes| *bytes);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.tls).poll_flush(cx);
        self.note(&polled, |()| 0);
        polled
    }

    /// Sends close_notify, then ends our side of the connection.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl Drop for Secured {
    /// Sends close_notify, as far as that is possible immediately, for code that drops a stream
    /// without shutting it down: without it clients report a truncated connection (RFC 8446 §6.1).
    fn drop(&mut self) {
        // A write that has to wait starts a task.
        if self.is_shut || self.wire.dead() || Handle::try_current().is_err() {
            return;
        }
        self.tls.get_mut().1.send_close_notify();
        let _ = Pin::new(&mut self.tls).poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}
