use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, Interest},
    net::TcpStream,
};

use crate::unacknowledged::SendQueue;

/// A byte stream that a [`GuardedStream`](crate::GuardedStream) can wrap, and that can discard its
/// unsent bytes.
///
/// A layer such as TLS goes over the guarded stream, not under it.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {
    /// Makes the next close discard unsent bytes instead of trying to send them; by default does
    /// nothing.
    fn abort(&self) {}

    /// Sets how long the peer's host may leave bytes unacknowledged, see
    /// [`Wire::set_ack_timeout`](crate::Wire::set_ack_timeout); by default does nothing.
    fn set_ack_timeout(&self, _: Option<Duration>) {}

    /// Waits for the peer's reset, without reading; `None`, as by default, where a reset cannot be
    /// observed.
    fn watch_reset(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Returns the counter of the bytes that the peer's host has not acknowledged, for a socket
    /// that stays open as long as `self`; `None`, as by default, where there is no such counter.
    /// Called once.
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}

impl ByteStream for TcpStream {
    fn abort(&self) {
        // Otherwise the kernel would keep the unread bytes for minutes.
        let _ = self.set_zero_linger();
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn set_ack_timeout(&self, limit: Option<Duration>) {
        if let Err(error) = socket2::SockRef::from(self).set_tcp_user_timeout(limit) {
            tracing::debug!(%error, "cannot set the acknowledgement timeout");
        }
    }

    /// Holds a second descriptor of the socket until the future is dropped; returns `None` without
    /// a free one.
    #[cfg(unix)]
    fn watch_reset(&self) -> Option<BoxFuture<'static, ()>> {
        let socket = socket2::SockRef::from(self).try_clone().and_then(|socket| TcpStream::from_std(socket.into()));
        let socket = socket.inspect_err(|error| tracing::debug!(%error, "cannot watch for a reset")).ok()?;
        Some(Box::pin(async move {
            if socket.ready(Interest::ERROR).await.is_err() {
                // The runtime is shutting down.
                std::future::pending().await
            }
        }))
    }

    fn send_queue(&self) -> Option<SendQueue> {
        SendQueue::of(self)
    }
}

#[cfg(unix)]
impl ByteStream for tokio::net::UnixStream {}

impl ByteStream for DuplexStream {}
