//! The handle of one accepted connection.

use std::{
    fmt, io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
        },
    },
    task::Waker,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::unacknowledged::{SendQueue, Unacknowledged};

/// A write waited for the whole limit.
const STALLED: u8 = 1;
/// The server's own side asked for the end.
const KILLED: u8 = 1 << 1;
/// The stream is gone.
const CLOSED: u8 = 1 << 2;
/// Reads wait.
const PAUSED: u8 = 1 << 3;
/// Somebody wants to know of flushes.
const DRAIN_WANTED: u8 = 1 << 4;
/// A watchdog task looks after the waiting write.
const WATCHED: u8 = 1 << 5;
/// At least one request has reached the router.
const REQUESTED: u8 = 1 << 6;
/// The socket's time for acknowledgements is to be set.
const ACK_TIMEOUT: u8 = 1 << 7;

/// What fails every read and write.
const DEAD: u8 = STALLED | KILLED;

/// What the connections of one guard have in common.
pub(crate) struct Shared {
    pub(crate) write_stall: Duration,
    pub(crate) ack_timeout: Option<Duration>,
    /// Zero of the wires' clocks, which are kept as one small integer each.
    pub(crate) epoch: Instant,
    pub(crate) stalls: AtomicU64,
}

/// The handle of one accepted connection, shared by its [`GuardedStream`](crate::GuardedStream) and whoever found it through
/// [`WireInfo`](crate::WireInfo).
///
/// It lives beside the stream, not in it: all methods work from any thread, and do nothing once the stream is gone.
pub struct Wire {
    peer: SocketAddr,
    shared: Arc<Shared>,
    /// Microseconds from the guard's epoch to the moment the waiting write began to wait; 0 when none waits.
    stalled_since: AtomicU64,
    /// Reader and writer may be two tasks after an upgrade; both must learn of the end.
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Bytes that the kernel has taken; what overflows is left out.
    written: AtomicU32,
    unacknowledged: Unacknowledged,
    /// Apart, since most connections never have any of it.
    seldom: OnceLock<Box<Seldom>>,
    /// What comes while nobody reads is thrown away.
    ignores_requests: AtomicBool,
    /// A reset is noticed while nobody reads.
    watches_reset: AtomicBool,
    /// A read or a write has failed.
    broken: AtomicBool,
    flags: AtomicU8,
}

#[derive(Default)]
struct Seldom {
    /// Held for a clone or an exchange only.
    drained: Mutex<Option<Waker>>,
    /// Bytes per second that writes may pass; 0 is no limit.
    write_rate: AtomicU32,
    /// Milliseconds for acknowledgements; 0 is what the listener was configured with.
    ack_timeout: AtomicU32,
}

impl Shared {
    /// Microseconds since the epoch, never 0, which means "none".
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Relaxed);
    }
}

impl Wire {
    pub(crate) fn new(peer: SocketAddr, shared: Arc<Shared>, queue: Option<SendQueue>) -> Self {
        Self {
            peer,
            shared,
            stalled_since: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            written: AtomicU32::new(0),
            unacknowledged: Unacknowledged::new(queue),
            seldom: OnceLock::new(),
            ignores_requests: AtomicBool::new(false),
            watches_reset: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            flags: AtomicU8::new(0),
        }
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// The client's address as the socket saw it: behind a proxy it is the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes all reads and writes fail from now on with [`io::ErrorKind::ConnectionAborted`] and wakes those that wait.
    ///
    /// What was not sent yet is thrown away and the client sees a reset; it is the last resort, not a polite goodbye.
    pub fn kill(&self) {
        self.end(KILLED);
    }

    /// Holds reads back (`true`), so that the client is slowed down by TCP itself, or lets them go on (`false`).
    ///
    /// While reads are held back nobody notices that the client went away, except by writing.
    pub fn pause_reads(&self, pause: bool) {
        if pause {
            self.flags.fetch_or(PAUSED, SeqCst);
        } else if self.flags.fetch_and(!PAUSED, SeqCst) & PAUSED != 0 {
            self.reader.wake();
        }
    }

    /// Has a response under way be the connection's last one (`true`): what comes behind its request is thrown away, so that the
    /// client's end is noticed, and more than 64 KiB of it cut the connection; or lets everything be read again (`false`).
    ///
    /// An HTTP/1 server that has read the beginning of a further request reads on only when the response is out. While a stream
    /// is open it would not notice that its client went away, except by writing.
    pub fn ignore_requests(&self, ignore: bool) {
        self.ignores_requests.store(ignore, SeqCst);
    }

    /// Whether what nobody reads is to be thrown away.
    pub(crate) fn ignores_requests(&self) -> bool {
        self.ignores_requests.load(Acquire)
    }

    /// Has the stream's flushes notice the peer's reset (`true`), for a session that does not read for a while: they fail then
    /// with [`io::ErrorKind::ConnectionReset`], and the task that flushed last is woken. Unix only, elsewhere without effect.
    ///
    /// It takes a second file descriptor, given back by the first flush after `false`. A peer that only ends its side (FIN) is
    /// not noticed: what it has sent before may end with its goodbye, and is to be read first.
    pub fn watch_reset(&self, watch: bool) {
        self.watches_reset.store(watch, SeqCst);
    }

    pub(crate) fn watches_reset(&self) -> bool {
        self.watches_reset.load(Acquire)
    }

    /// Lets writes pass no more than this many bytes per second from now on, or as many as the peer takes (`None`, the default).
    ///
    /// It stands for a slow network, where one is to be shown or tested: up to a tenth of a second's bytes pass at once, and a
    /// write that waits for its turn is not a stalled one. Bytes that the kernel has taken before are not held back.
    pub fn set_write_rate(&self, bytes_per_second: Option<NonZeroU32>) {
        let rate = bytes_per_second.map_or(0, NonZeroU32::get);
        if self.seldom().write_rate.swap(rate, SeqCst) != rate {
            // A write may be waiting for its turn at the old rate.
            self.writer.wake();
        }
    }

    /// Ends the connection when its peer's host does not acknowledge what is sent for this long, or for
    /// [`WireConfig::ack_timeout`](crate::WireConfig::ack_timeout) again (`None`); from the next write on, in whole
    /// milliseconds, on Linux (`TCP_USER_TIMEOUT`), elsewhere without effect.
    pub fn set_ack_timeout(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1));
        if self.seldom().ack_timeout.swap(millis, SeqCst) != millis {
            self.flags.fetch_or(ACK_TIMEOUT, SeqCst);
        }
    }

    /// The time for acknowledgements, when it is to be set.
    pub(crate) fn take_ack_timeout(&self) -> Option<Option<Duration>> {
        if self.flags.load(Acquire) & ACK_TIMEOUT == 0 {
            return None;
        }
        self.flags.fetch_and(!ACK_TIMEOUT, SeqCst);
        Some(match self.seldom().ack_timeout.load(SeqCst) {
            0 => self.shared.ack_timeout,
            millis => Some(Duration::from_millis(millis.into())),
        })
    }

    /// How long a write has been waiting without one byte being accepted; `None` when none waits.
    pub fn write_waits(&self) -> Option<Duration> {
        let since = self.stalled_since.load(SeqCst);
        (since != 0).then(|| Duration::from_micros(self.shared.now().saturating_sub(since)))
    }

    /// Bytes that the kernel has taken of all that was ever written to the connection, modulo 2^32.
    pub fn written(&self) -> u32 {
        self.written.load(Relaxed)
    }

    /// Bytes of these that the peer's host has acknowledged, modulo 2^32, at the latest when the stream was closed; all of them
    /// where the kernel does not tell (only that of Linux and Android does), and where the stream was closed by its own side
    /// alone, for the kernel goes on by itself then.
    ///
    /// It asks the kernel. Behind a reverse proxy the host is the proxy's.
    pub fn acknowledged(&self) -> u32 {
        let unacknowledged = self.unacknowledged.bytes(self.broken());
        self.written().wrapping_sub(unacknowledged)
    }

    /// Notes that the stream's own side has ended.
    pub(crate) fn end_writes(&self) {
        self.unacknowledged.end();
    }

    /// Notes that the peer's side has ended.
    pub(crate) fn end_reads(&self) {
        self.unacknowledged.leave();
    }

    pub(crate) fn note_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u32, Relaxed);
    }

    /// Wakes `waker` after each successful flush of the stream, until it is replaced; `None` ends it.
    ///
    /// A layer that flushes only when its own queue came up empty so says "send me more". Flushes from before the call
    /// are not reported. The waker is also woken, for the last time, when the connection stalls, is killed or closes.
    pub fn on_drained(&self, waker: impl Into<Option<Waker>>) {
        let waker = waker.into();
        let wanted = waker.is_some();
        let old = {
            let mut slot = self.seldom().drained.lock().unwrap_or_else(PoisonError::into_inner);
            if wanted {
                self.flags.fetch_or(DRAIN_WANTED, SeqCst);
            } else {
                self.flags.fetch_and(!DRAIN_WANTED, SeqCst);
            }
            std::mem::replace(&mut *slot, waker)
        };
        drop(old);
        if self.flags.load(SeqCst) & (DEAD | CLOSED) != 0 {
            self.end_drain();
        }
    }

    /// Whether the connection was cut because a write had waited for [`write_stall`](crate::WireConfig::write_stall).
    pub fn stalled(&self) -> bool {
        self.flags.load(Acquire) & STALLED != 0
    }

    /// Whether the stream is gone.
    pub fn closed(&self) -> bool {
        self.flags.load(Acquire) & CLOSED != 0
    }

    /// Whether a read or a write has failed, as it does after a reset: what was written before may not have arrived.
    ///
    /// A peer that ends the connection in order, having read all, does not break it.
    pub fn broken(&self) -> bool {
        self.broken.load(Acquire) || self.dead()
    }

    /// Notes that a read or a write has failed.
    pub(crate) fn fail(&self) {
        self.broken.store(true, SeqCst);
    }

    /// Notes that a request has reached the router.
    pub(crate) fn note_request(&self) {
        if !self.requested() {
            self.flags.fetch_or(REQUESTED, AcqRel);
        }
    }

    pub(crate) fn requested(&self) -> bool {
        self.flags.load(Acquire) & REQUESTED != 0
    }

    /// Whether every read and write fails, which also means that what waits in the kernel is of no use.
    pub(crate) fn dead(&self) -> bool {
        self.flags.load(Acquire) & DEAD != 0
    }

    /// The error of a dead connection.
    pub(crate) fn check(&self) -> io::Result<()> {
        let flags = self.flags.load(Acquire);
        if flags & STALLED != 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "write stalled"));
        }
        if flags & KILLED != 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "connection killed"));
        }
        Ok(())
    }

    pub(crate) fn write_rate(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.seldom.get()?.write_rate.load(Acquire))
    }

    /// Leaves the waker of a writer that waits for its turn; the caller looks at the rate and the flags again afterwards.
    pub(crate) fn park_limited(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    /// Lets go of it again.
    pub(crate) fn unpark_limited(&self) {
        drop(self.writer.take());
    }

    pub(crate) fn paused(&self) -> bool {
        self.flags.load(SeqCst) & PAUSED != 0
    }

    /// Leaves the reader's waker; the caller looks at the flags again afterwards.
    pub(crate) fn park_reader(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Leaves the writer's waker and starts the clock if it does not run; true asks the caller for a watchdog.
    pub(crate) fn park_writer(&self, waker: &Waker) -> bool {
        self.writer.register(waker);
        if self.stalled_since.load(Relaxed) != 0 {
            return false;
        }
        self.stalled_since.store(self.shared.now(), SeqCst);
        self.flags.fetch_or(WATCHED, SeqCst) & WATCHED == 0
    }

    /// Stops the clock: bytes were accepted.
    pub(crate) fn progressed(&self) {
        if self.stalled_since.load(Relaxed) != 0 {
            self.stalled_since.store(0, SeqCst);
            // The waker would keep a finished task's memory.
            drop(self.writer.take());
        }
    }

    /// Tells whoever waits for flushes; one atomic load when nobody does.
    pub(crate) fn flushed(&self) {
        if self.flags.load(Acquire) & DRAIN_WANTED != 0 {
            let waker = {
                let slot = self.seldom().drained.lock().unwrap_or_else(PoisonError::into_inner);
                slot.clone()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits until the write that waits now, or a later one, has waited too long, then cuts the connection; ends when none waits.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut since = self.stalled_since.load(SeqCst);
        loop {
            if since == 0 {
                self.flags.fetch_and(!WATCHED, SeqCst);
                since = self.stalled_since.load(SeqCst);
                // A write that began to wait in between asked for a watchdog itself, or counts on this one.
                if since == 0 || self.flags.fetch_or(WATCHED, SeqCst) & WATCHED != 0 {
                    return;
                }
            }
            let begun = self.shared.epoch + Duration::from_micros(since);
            // A limit past the end of the clock never comes.
            let Some(deadline) = begun.checked_add(self.shared.write_stall) else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(deadline).await;
            let now = self.stalled_since.load(SeqCst);
            if now == since {
                self.stall();
                return;
            }
            since = now;
        }
    }

    /// Lets go of every waker: the stream is gone, and a task must not be kept alive by its own connection.
    pub(crate) fn close(&self) {
        self.unacknowledged.close(self.broken());
        self.flags.fetch_or(CLOSED, SeqCst);
        drop(self.reader.take());
        drop(self.writer.take());
        self.end_drain();
    }

    /// Ends a connection whose peer takes nothing, and counts it.
    pub(crate) fn stall(&self) {
        // Several clocks may find it at once.
        if self.flags.fetch_or(STALLED, SeqCst) & STALLED == 0 {
            self.shared.count_stall();
        }
        self.end(STALLED);
    }

    fn end(&self, why: u8) {
        self.flags.fetch_or(why, SeqCst);
        self.reader.wake();
        self.writer.wake();
        self.end_drain();
    }

    fn end_drain(&self) {
        let Some(seldom) = self.seldom.get() else { return };
        let waker = {
            let mut slot = seldom.drained.lock().unwrap_or_else(PoisonError::into_inner);
            self.flags.fetch_and(!DRAIN_WANTED, SeqCst);
            slot.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("peer", &self.peer)
            .field("stalled", &self.stalled())
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}
