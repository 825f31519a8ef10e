//! The stream that disconnects a peer that has stopped reading.

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
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::AbortHandle,
    time::Instant,
};

use crate::byte_stream::ByteStream;
use crate::config::WireConfig;
use crate::ended::{EndCounters, Ended, ListenerStats};
use crate::head::{Head, Unread};
use crate::pending::Pending;
use crate::shared::Shared;
use crate::throttle::Throttle;
use crate::wire::Wire;

/// The number of unread bytes that are discarded before the connection is aborted.
const MAX_IGNORED: u32 = 64 * 1024;

/// A factory of the guarded streams of one listener, which share a limit and a count of stalls;
/// clones are the same guard.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
    /// The connections without a request so far.
    pending: Arc<Pending>,
    /// The HTTP/2 connections between two requests.
    idle: Arc<Pending>,
}

impl Guard {
    /// Creates a guard with the [`write_stall`](WireConfig::with_write_stall) and the
    /// [`ack_timeout`](WireConfig::with_ack_timeout) of `config`.
    #[must_use]
    pub fn new(config: &WireConfig) -> Self {
        let shared = Arc::new(Shared {
            write_stall: config.write_stall,
            ack_timeout: config.ack_timeout,
            epoch: Instant::now(),
            open: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            ended: EndCounters::default(),
        });
        let pending = Pending::new(config.pending, Some(config.pending_of_address()), Ended::PendingLimit);
        let idle = Pending::new(config.http2_idle, Some(config.idle_of_address()), Ended::IdleLimit);
        Self { shared, pending, idle }
    }

    /// Wraps a connection.
    pub fn wrap<S: ByteStream>(&self, io: S, peer: SocketAddr) -> GuardedStream<S> {
        self.shared.open.fetch_add(1, Relaxed);
        let wire = Arc::new(Wire::new(peer, Arc::clone(&self.shared), io.send_queue()));
        GuardedStream {
            io,
            wire,
            watchdog: None,
            write_waits: false,
            head: Head::default(),
            read_waits: false,
            ignored: 0,
            extras: None,
        }
    }

    /// Returns the number of connections that were aborted because of a stalled write.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.shared.ended.of(Ended::WriteStall)
    }

    /// Returns the numbers of connections, and of those that were ended here.
    #[must_use]
    pub fn stats(&self) -> ListenerStats {
        let number = |of: &Pending| u64::try_from(of.len()).unwrap_or(u64::MAX);
        ListenerStats {
            open: self.open(),
            pending: number(&self.pending),
            idle: number(&self.idle),
            delayed: self.shared.delayed.load(Relaxed),
            ended: self.shared.ended.read(),
        }
    }

    /// Returns the connections without a request so far.
    pub(crate) fn pending(&self) -> &Arc<Pending> {
        &self.pending
    }

    /// Returns the HTTP/2 connections between two requests.
    pub(crate) fn idle(&self) -> &Arc<Pending> {
        &self.idle
    }

    /// Returns the number of connections.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open.load(Relaxed)
    }

    /// Counts a connection that waited to be accepted.
    pub(crate) fn count_delayed(&self) {
        self.shared.delayed.fetch_add(1, Relaxed);
    }

    /// Counts a connection that is refused.
    pub(crate) fn count_refused(&self) {
        self.shared.ended.count(Ended::ConnectionLimit);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("write_stall", &self.shared.write_stall).field("stalls", &self.stalls()).finish()
    }
}

/// A byte stream that fails permanently once a write, flush or shutdown has been blocked for
/// [`write_stall`](WireConfig::with_write_stall) without one byte being accepted.
///
/// From then on every read and write fails with [`io::ErrorKind::TimedOut`], and those that wait at
/// that moment are woken to fail, even if they belong to another task than the one that wrote.
/// Otherwise all calls pass through, as fast as [`Wire::set_write_rate`] allows. An idle connection
/// has no timer: a write that is blocked starts one, in the tokio runtime that polls it (a panic
/// outside of one).
pub struct GuardedStream<S: ByteStream = TcpStream> {
    io: S,
    wire: Arc<Wire>,
    /// The task that watches a blocked write, or the last one that did.
    watchdog: Option<AbortHandle>,
    /// `true` if the clock runs for a write: then a flush that has nothing to do is no progress.
    write_waits: bool,
    head: Head,
    /// `true` if a read has had to wait since the last flush: then there is a reader, which notices
    /// the end by itself.
    read_waits: bool,
    /// The number of bytes that were discarded because no task reads.
    ignored: u32,
    /// State that most connections never need.
    extras: Option<Box<Extras>>,
}

#[derive(Default)]
struct Extras {
    /// The throttle of writes, once a rate was set.
    throttle: Option<Throttle>,
    /// The wait for a reset while no task reads ([`Wire::watch_reset`]).
    reset: Option<BoxFuture<'static, ()>>,
}

impl<S: ByteStream> GuardedStream<S> {
    /// Returns the handle of this connection.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Returns the wrapped stream.
    pub fn inner(&self) -> &S {
        &self.io
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
            let throttle = self.extras.get_or_insert_default().throttle.get_or_insert_with(Throttle::of_writes);
            if let Poll::Ready(bytes) = throttle.poll_turn(cx, rate, buf.len()) {
                self.wire.unpark_limited();
                let polled = self.guarded(cx, true, |io, cx| io.poll_write(cx, &buf[..bytes]));
                self.note_written(&polled);
                let throttle = self.extras.as_mut().and_then(|extras| extras.throttle.as_mut());
                if let (Poll::Ready(Ok(bytes)), Some(throttle)) = (&polled, throttle) {
                    throttle.spend(*bytes, rate);
                }
                return polled;
            }
            // The stall's clock does not run meanwhile: the write does not wait for the peer.
            self.wire.park_limited(cx.waker());
            self.wire.check()?;
            if self.wire.write_rate() == Some(rate) {
                return Poll::Pending;
            }
        }
    }

    /// Discards input that no task reads ([`Wire::ignore_requests`]); an error at EOF.
    ///
    /// A server flushes each time it is woken, so this replaces its reading.
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
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client disconnected"));
                }
                Poll::Ready(()) => self.ignored += buf.filled().len() as u32,
            }
            if self.ignored > MAX_IGNORED {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "too much input after the last request"));
            }
        }
    }

    fn note_written(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.wire.note_written(*bytes);
        }
    }

    /// Notices a reset while no task reads ([`Wire::watch_reset`]); an error when it has come.
    ///
    /// Readiness to read means nothing here, since there are unread bytes all the time; so only
    /// errors are watched for.
    fn watch_reset(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.wire.watches_reset() {
            if let Some(extras) = &mut self.extras {
                extras.reset = None;
            }
            return Ok(());
        }
        let reset = &mut self.extras.get_or_insert_default().reset;
        if reset.is_none() {
            *reset = self.io.watch_reset();
        }
        if reset.as_mut().is_some_and(|reset| reset.as_mut().poll(cx).is_ready()) {
            self.wire.fail();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// Runs one operation of the write side under the clock.
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
        // The connection may have ended before the waker was registered.
        self.wire.check()?;
        Poll::Pending
    }
}

impl<S: ByteStream> Unread for GuardedStream<S> {
    fn unread(&mut self, bytes: &[u8]) {
        self.head.put_back(bytes);
    }
}

impl<S: ByteStream> AsyncRead for GuardedStream<S> {
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
        if let Some(polled) = this.head.poll_read(&mut this.io, cx, buf) {
            return polled;
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

impl<S: ByteStream> AsyncWrite for GuardedStream<S> {
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

impl<S: ByteStream> Drop for GuardedStream<S> {
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

impl<S: ByteStream> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedStream").field("wire", &self.wire).finish_non_exhaustive()
    }
}
