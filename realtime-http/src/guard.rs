//! The stream that cuts a connection whose peer has stopped reading.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf},
    net::TcpStream,
    task::AbortHandle,
    time::Instant,
};

use crate::config::WireConfig;
use crate::throttle::Throttle;
use crate::unacknowledged::SendQueue;
use crate::wire::{Shared, Wire};

/// How much of what nobody reads any more is thrown away before the connection is cut.
const MOST_IGNORED: u32 = 64 * 1024;

/// Makes guarded streams of one listener, which share a limit and a count of cuts; clones are the same guard.
#[derive(Clone)]
pub struct Guard(Arc<Shared>);

impl Guard {
    /// Makes a guard with [`write_stall`](WireConfig::write_stall) and [`ack_timeout`](WireConfig::ack_timeout) of `config`.
    pub fn new(config: &WireConfig) -> Self {
        Self(Arc::new(Shared {
            write_stall: config.write_stall,
            ack_timeout: config.ack_timeout,
            epoch: Instant::now(),
            stalls: AtomicU64::new(0),
        }))
    }

    /// Puts the guard over a connection.
    pub fn wrap<S: Link>(&self, io: S, peer: SocketAddr) -> GuardedStream<S> {
        let wire = Arc::new(Wire::new(peer, Arc::clone(&self.0), io.send_queue()));
        GuardedStream {
            io,
            wire,
            watchdog: None,
            write_waits: false,
            head: None,
            read_waits: false,
            ignored: 0,
            seldom: None,
        }
    }

    /// How many connections were cut because of a stalled write.
    pub fn stalls(&self) -> u64 {
        self.0.stalls.load(Relaxed)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("write_stall", &self.0.write_stall).field("stalls", &self.stalls()).finish()
    }
}

/// What a [`GuardedStream`] can lie on: a byte stream, and how to throw away what it has not sent.
///
/// A layer such as TLS goes over the guarded stream, not under it.
pub trait Link: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close throw away unsent bytes instead of trying to send them; by default nothing.
    fn abort(&self) {}

    /// Sets how long the peer's host may leave bytes unacknowledged, see [`Wire::set_ack_timeout`]; by default nothing.
    fn set_ack_timeout(&self, _: Option<Duration>) {}

    /// Waits for the peer's reset, without reading; `None`, as by default, where it cannot be known.
    fn watch_reset(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// Where the bytes that the peer's host has not acknowledged are counted, of a socket that is open for as long as this
    /// is there; `None`, as by default, where that cannot be known. Asked once.
    fn send_queue(&self) -> Option<SendQueue> {
        None
    }
}

impl Link for TcpStream {
    fn abort(&self) {
        // Otherwise the kernel would hold the bytes that nobody reads for minutes.
        let _ = self.set_zero_linger();
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    fn set_ack_timeout(&self, limit: Option<Duration>) {
        if let Err(error) = socket2::SockRef::from(self).set_tcp_user_timeout(limit) {
            tracing::debug!(%error, "cannot set the time for acknowledgements");
        }
    }

    /// It holds a second descriptor of the socket until it is dropped; without a free one nothing is watched.
    #[cfg(unix)]
    fn watch_reset(&self) -> Option<BoxFuture<'static, ()>> {
        let socket = socket2::SockRef::from(self).try_clone().and_then(|socket| TcpStream::from_std(socket.into()));
        let socket = socket.inspect_err(|error| tracing::debug!(%error, "cannot watch for a reset")).ok()?;
        Some(Box::pin(async move {
            if socket.ready(Interest::ERROR).await.is_err() {
                // The runtime ends.
                std::future::pending().await
            }
        }))
    }

    fn send_queue(&self) -> Option<SendQueue> {
        SendQueue::of(self)
    }
}

#[cfg(unix)]
impl Link for tokio::net::UnixStream {}

impl Link for DuplexStream {}

/// A byte stream that is dead for good once a write, flush or shutdown has waited for [`write_stall`](WireConfig::write_stall)
/// without one byte being accepted.
///
/// From then on every read and write fails with [`io::ErrorKind::TimedOut`], and those that wait at that moment are woken
/// to fail, even if they belong to another task than the one that wrote. Otherwise all calls pass through,
/// as fast as [`Wire::set_write_rate`] lets them.
/// An idle connection has no timer: a write that has to wait starts one, in the tokio runtime it is polled in (a panic
/// outside of one).
pub struct GuardedStream<S: Link = TcpStream> {
    io: S,
    wire: Arc<Wire>,
    /// The task that looks after a waiting write, or the last one that did.
    watchdog: Option<AbortHandle>,
    /// Whether the clock runs for a write: then a flush that has nothing to do is no progress.
    write_waits: bool,
    /// Bytes that were read to learn the protocol and are to be read again.
    head: Option<Box<[u8]>>,
    /// Whether a read has had to wait since the last flush: then there is a reader, who learns of the end by itself.
    read_waits: bool,
    /// Bytes that came while nobody read and were thrown away.
    ignored: u32,
    /// Apart, since most connections never have any of it.
    seldom: Option<Box<Seldom>>,
}

#[derive(Default)]
struct Seldom {
    /// What holds writes back once a rate was set.
    throttle: Option<Throttle>,
    /// What waits for a reset while nobody reads ([`Wire::watch_reset`]).
    reset: Option<BoxFuture<'static, ()>>,
}

impl<S: Link> GuardedStream<S> {
    /// The handle of this connection.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// The stream below.
    pub fn inner(&self) -> &S {
        &self.io
    }

    /// Gives bytes back, to be read before all others.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        debug_assert!(self.head.is_none(), "bytes given back twice");
        if !bytes.is_empty() {
            self.head = Some(bytes.into());
        }
    }

    /// Writes as much of `buf` as the wire's rate allows, when it allows it.
    fn slowed(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let Some(rate) = self.wire.write_rate() else {
                let polled = self.guarded(cx, true, |io, cx| io.poll_write(cx, buf));
                self.note_written(&polled);
                return polled;
            };
            self.wire.check()?;
            let throttle = self.seldom.get_or_insert_default().throttle.get_or_insert_with(Throttle::new);
            if let Poll::Ready(bytes) = throttle.poll_turn(cx, rate, buf.len()) {
                self.wire.unpark_limited();
                let polled = self.guarded(cx, true, |io, cx| io.poll_write(cx, &buf[..bytes]));
                self.note_written(&polled);
                let throttle = self.seldom.as_mut().and_then(|seldom| seldom.throttle.as_mut());
                if let (Poll::Ready(Ok(bytes)), Some(throttle)) = (&polled, throttle) {
                    throttle.spend(*bytes, rate);
                }
                return polled;
            }
            // The stall's clock does not run meanwhile: it is not the peer who is waited for.
            self.wire.park_limited(cx.waker());
            self.wire.check()?;
            if self.wire.write_rate() == Some(rate) {
                return Poll::Pending;
            }
        }
    }

    /// Throws away what comes while nobody reads ([`Wire::ignore_requests`]); an error at its end.
    ///
    /// A server flushes each time it is woken, so this takes the place of its reading.
    fn ignore_requests(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if std::mem::take(&mut self.read_waits) || self.wire.paused() || !self.wire.ignores_requests() {
            return Ok(());
        }
        let mut bytes = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf)? {
                Poll::Pending => {
                    self.wire.park_reader(cx.waker());
                    return self.wire.check();
                }
                Poll::Ready(()) if buf.filled().is_empty() => {
                    self.wire.end_reads();
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client left"));
                }
                Poll::Ready(()) => self.ignored += buf.filled().len() as u32,
            }
            if self.ignored > MOST_IGNORED {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "too much behind the last request"));
            }
        }
    }

    fn note_written(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.wire.note_written(*bytes);
        }
    }

    /// Notices a reset while nobody reads ([`Wire::watch_reset`]); an error when it has come.
    ///
    /// Readiness to read says nothing here, since there is something unread all the time; hence a watch for errors alone.
    fn watch_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.wire.watches_reset() {
            if let Some(seldom) = &mut self.seldom {
                seldom.reset = None;
            }
            return Ok(());
        }
        let reset = &mut self.seldom.get_or_insert_default().reset;
        if reset.is_none() {
            *reset = self.io.watch_reset();
        }
        if reset.as_mut().is_some_and(|reset| reset.as_mut().poll(cx).is_ready()) {
            self.wire.fail();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// Does one operation of the write side under the clock.
    fn guarded<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: bool,
        operation: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.wire.check()?;
        if let Some(limit) = self.wire.take_ack_timeout() {
            self.io.set_ack_timeout(limit);
        }
        let polled = operation(Pin::new(&mut self.io), cx);
        if let Poll::Ready(Err(_)) = polled {
            self.wire.fail();
        }
        if polled.is_ready() {
            if write || !self.write_waits {
                self.write_waits = false;
                self.wire.progressed();
            }
            return polled;
        }
        self.write_waits |= write;
        if self.wire.park_writer(cx.waker()) {
            self.watchdog = Some(tokio::spawn(Arc::clone(&self.wire).watch()).abort_handle());
        }
        // The end may have come before the waker was left.
        self.wire.check()?;
        Poll::Pending
    }
}

impl<S: Link> AsyncRead for GuardedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.wire.check()?;
        if this.wire.paused() {
            this.wire.park_reader(cx.waker());
            this.wire.check()?;
            if this.wire.paused() {
                return Poll::Pending;
            }
        }
        if let Some(head) = this.head.take() {
            let (now, later) = head.split_at(head.len().min(buf.remaining()));
            buf.put_slice(now);
            if !later.is_empty() {
                this.unread(later);
                return Poll::Ready(Ok(()));
            }
            // The rest of the request goes into the same read: hyper doubles its buffer when it has to read twice.
            return match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            };
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        this.read_waits = polled.is_pending();
        if polled.is_pending() {
            this.wire.park_reader(cx.waker());
            this.wire.check()?;
        }
        match polled {
            Poll::Ready(Err(_)) => this.wire.fail(),
            Poll::Ready(Ok(())) if room > 0 && buf.filled().len() == before => this.wire.end_reads(),
            _ => {}
        }
        polled
    }
}

impl<S: Link> AsyncWrite for GuardedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.wire.write_rate().is_some() {
            return self.slowed(cx, buf);
        }
        let polled = self.guarded(cx, true, |io, cx| io.poll_write(cx, buf));
        self.note_written(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.wire.write_rate().is_some() {
            return self.slowed(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf));
        }
        let polled = self.guarded(cx, true, |io, cx| io.poll_write_vectored(cx, bufs));
        self.note_written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ignore_requests(cx)?;
        self.watch_reset(cx)?;
        let polled = self.guarded(cx, false, |io, cx| io.poll_flush(cx));
        if let Poll::Ready(Ok(())) = polled {
            self.wire.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.guarded(cx, false, |io, cx| io.poll_shutdown(cx));
        if let Poll::Ready(Ok(())) = polled {
            self.wire.end_writes();
        }
        polled
    }
}

impl<S: Link> Drop for GuardedStream<S> {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
        if self.wire.dead() {
            self.io.abort();
        }
        self.wire.close();
    }
}

impl<S: Link> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").field("wire", &self.wire).finish_non_exhaustive()
    }
}
