//! The handle of one accepted connection.
//!
//! The state is one byte of flags with three kinds of writers: the stream itself (in the task or
//! tasks that read and write), the watchdog task of a blocked write, and any thread with the
//! handle.
//!
//! | flag | set by | cleared by |
//! |---|---|---|
//! | `STALLED` | the watchdog, or a handle | – |
//! | `KILLED` | a handle | – |
//! | `CLOSED` | the stream's drop | – |
//! | `PAUSED` | a handle | a handle |
//! | `DRAIN_WANTED` | a handle | a handle, and whatever sets one of the first three |
//! | `WATCHED` | the stream, for a blocked write | the watchdog, when no write is blocked |
//! | `REQUESTED` | a handle (the server's, with the first request) | – |
//! | `ACK_TIMEOUT` | a handle | the stream, when it sets the socket's option |
//!
//! `STALLED` and `KILLED` make every read and write fail; `CLOSED` follows them, or comes alone.

mod position;
mod watchdog;

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

use crate::ended::Ended;
#[cfg(feature = "tls")]
use crate::records::Records;
use crate::shared::Shared;
use crate::unacknowledged::{SendQueue, Unacknowledged};

/// The flag of a write that was blocked for the whole limit.
const STALLED: u8 = 1;
/// The flag of a connection that was ended with [`Wire::kill`].
const KILLED: u8 = 1 << 1;
/// The flag of a dropped stream.
const CLOSED: u8 = 1 << 2;
/// The flag of paused reads.
const PAUSED: u8 = 1 << 3;
/// The flag of a waker that is notified of flushes.
const DRAIN_WANTED: u8 = 1 << 4;
/// The flag of a watchdog task that watches the blocked write.
const WATCHED: u8 = 1 << 5;
/// The flag of a connection of which at least one request has reached the router.
const REQUESTED: u8 = 1 << 6;
/// The flag of an acknowledgement timeout that the socket does not have yet.
const ACK_TIMEOUT: u8 = 1 << 7;

/// The flags with which every read and write fails.
const DEAD: u8 = STALLED | KILLED;

/// The handle of one accepted connection, shared by the [`GuardedStream`](crate::GuardedStream) and
/// everyone that got it through [`WireInfo`](crate::WireInfo).
///
/// The handle is separate from the stream: all methods work from any thread, and do nothing once
/// the stream is dropped.
pub struct Wire {
    peer: SocketAddr,
    shared: Arc<Shared>,
    /// The microseconds from the guard's epoch to the moment when the blocked write was blocked; 0
    /// when none is.
    stalled_since: AtomicU64,
    /// The reader's waker. Reader and writer may be two tasks after an upgrade; both are woken at
    /// the end.
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The number of bytes that the kernel has accepted, modulo 2^32.
    written: AtomicU32,
    unacknowledged: Unacknowledged,
    /// State that most connections never need.
    extras: OnceLock<Box<Extras>>,
    /// Set while input that no task reads is discarded.
    ignores_requests: AtomicBool,
    /// Set while flushes notice a reset although no task reads.
    watches_reset: AtomicBool,
    /// Set when a read or a write has failed.
    broken: AtomicBool,
    flags: AtomicU8,
}

#[derive(Default)]
struct Extras {
    /// The waker of flushes; the lock is held for a clone or an exchange only.
    drained: Mutex<Option<Waker>>,
    /// The bytes per second that may be written; 0 is no limit.
    write_rate: AtomicU32,
    /// The acknowledgement timeout in milliseconds; 0 is the listener's configuration.
    ack_timeout: AtomicU32,
    /// The positions of a TLS connection.
    #[cfg(feature = "tls")]
    records: OnceLock<Mutex<Records>>,
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
            extras: OnceLock::new(),
            ignores_requests: AtomicBool::new(false),
            watches_reset: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            flags: AtomicU8::new(0),
        }
    }

    fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    /// Returns the peer's address as the socket has it: behind a proxy it is the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Makes all further reads and writes fail with [`io::ErrorKind::ConnectionAborted`], and wakes
    /// those that wait.
    ///
    /// Unsent bytes are discarded and the client sees a reset: this is the last resort, not an
    /// orderly close.
    pub fn kill(&self) {
        self.end(KILLED);
    }

    /// Kills the connection and counts the reason.
    pub(crate) fn end_for(&self, reason: Ended) {
        self.count(reason);
        self.kill();
    }

    /// Counts the reason for which the connection, or a request on it, ends.
    pub(crate) fn count(&self, reason: Ended) {
        self.shared.ended.count(reason);
    }

    /// Pauses reads (`true`), so that TCP itself slows the client down, or resumes them (`false`).
    ///
    /// While reads are paused, a disconnect of the client is noticed only by writing.
    pub fn pause_reads(&self, pause: bool) {
        if pause {
            self.flags.fetch_or(PAUSED, SeqCst);
        } else if self.flags.fetch_and(!PAUSED, SeqCst) & PAUSED != 0 {
            self.reader.wake();
        }
    }

    /// Makes the current response the connection's last one (`true`): input after its request is
    /// discarded, so that a disconnect of the client is noticed, and more than 64 KiB of input
    /// abort the connection; or lets everything be read again (`false`).
    ///
    /// An HTTP/1 server that has read the beginning of a further request reads on only when the
    /// response has been sent. While a stream is open it would notice a disconnect of the client
    /// only by writing.
    pub fn ignore_requests(&self, ignore: bool) {
        self.ignores_requests.store(ignore, SeqCst);
    }

    /// Returns whether input that no task reads is to be discarded.
    pub(crate) fn ignores_requests(&self) -> bool {
        self.ignores_requests.load(Acquire)
    }

    /// Makes the stream's flushes notice the peer's reset (`true`), for a session that does not
    /// read for a time: they fail then with [`io::ErrorKind::ConnectionReset`], and the task that
    /// flushed last is woken. Unix only, elsewhere without effect.
    ///
    /// Costs a second file descriptor, released by the first flush after `false`. A peer that only
    /// ends its side (FIN) is not noticed: its earlier bytes may end with its close frame, and are
    /// to be read first.
    pub fn watch_reset(&self, watch: bool) {
        self.watches_reset.store(watch, SeqCst);
    }

    pub(crate) fn watches_reset(&self) -> bool {
        self.watches_reset.load(Acquire)
    }

    /// Limits further writes to this many bytes per second, or to as many as the peer reads
    /// (`None`, the default).
    ///
    /// Simulates a slow network, for demonstrations and tests: up to a tenth of a second's bytes
    /// are written immediately, and a write that waits for its turn is not a stalled one. Bytes
    /// that the kernel has accepted before are not delayed.
    pub fn set_write_rate(&self, bytes_per_second: Option<NonZeroU32>) {
        let rate = bytes_per_second.map_or(0, NonZeroU32::get);
        if self.extras().write_rate.swap(rate, SeqCst) != rate {
            // A write may be waiting for its turn at the old rate.
            self.writer.wake();
        }
    }

    /// Ends the connection when the peer's host does not acknowledge sent bytes for this long, or
    /// for [`WireConfig::with_ack_timeout`](crate::WireConfig::with_ack_timeout) again (`None`).
    /// Takes effect with the next write, in whole milliseconds, on Linux (`TCP_USER_TIMEOUT`),
    /// elsewhere without effect.
    pub fn set_ack_timeout(&self, limit: Option<Duration>) {
        let millis = limit.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1));
        if self.extras().ack_timeout.swap(millis, SeqCst) != millis {
            self.flags.fetch_or(ACK_TIMEOUT, SeqCst);
        }
    }

    /// Returns the acknowledgement timeout, if it is to be set.
    pub(crate) fn take_ack_timeout(&self) -> Option<Option<Duration>> {
        if self.flags.load(Acquire) & ACK_TIMEOUT == 0 {
            return None;
        }
        self.flags.fetch_and(!ACK_TIMEOUT, SeqCst);
        Some(match self.extras().ack_timeout.load(SeqCst) {
            0 => self.shared.ack_timeout,
            millis => Some(Duration::from_millis(millis.into())),
        })
    }

    /// Returns how long a write has been blocked without one byte being accepted; `None` when none
    /// is.
    pub fn write_waits(&self) -> Option<Duration> {
        let since = self.stalled_since.load(SeqCst);
        (since != 0).then(|| Duration::from_micros(self.shared.now().saturating_sub(since)))
    }

    /// Wakes `waker` after each successful flush of the stream, until it is replaced; `None`
    /// removes it.
    ///
    /// For a layer that flushes only when its own queue is empty, a flush means that it can take
    /// more. Flushes before the call are not reported. The waker is also woken, for the last time,
    /// when the connection stalls, is killed or closes.
    pub fn on_drained(&self, waker: impl Into<Option<Waker>>) {
        let waker = waker.into();
        let wanted = waker.is_some();
        let old = {
            let mut slot = self.extras().drained.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Returns whether the connection was aborted because a write had been blocked for
    /// [`write_stall`](crate::WireConfig::with_write_stall).
    pub fn stalled(&self) -> bool {
        self.flags.load(Acquire) & STALLED != 0
    }

    /// Returns whether the stream has been dropped.
    pub fn closed(&self) -> bool {
        self.flags.load(Acquire) & CLOSED != 0
    }

    /// Returns whether a read or a write has failed, as after a reset: bytes that were written
    /// before may not have arrived.
    ///
    /// A peer that ends the connection in order, after it has read everything, does not break it.
    pub fn broken(&self) -> bool {
        self.broken.load(Acquire) || self.dead()
    }

    /// Notes that a read or a write has failed.
    pub(crate) fn fail(&self) {
        self.broken.store(true, SeqCst);
    }

    /// Notes that a request has reached the router; returns whether it is the first one.
    pub(crate) fn note_request(&self) -> bool {
        !self.requested() && self.flags.fetch_or(REQUESTED, AcqRel) & REQUESTED == 0
    }

    pub(crate) fn requested(&self) -> bool {
        self.flags.load(Acquire) & REQUESTED != 0
    }

    /// Returns whether every read and write fails, so that bytes that wait in the kernel are
    /// useless.
    pub(crate) fn dead(&self) -> bool {
        self.flags.load(Acquire) & DEAD != 0
    }

    /// Checks that the connection is not dead.
    ///
    /// # Errors
    /// The error of every read and write of a dead connection.
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
        NonZeroU32::new(self.extras.get()?.write_rate.load(Acquire))
    }

    /// Registers the waker of a writer that waits for its turn; the caller checks the rate and the
    /// flags again afterwards.
    pub(crate) fn park_limited(&self, waker: &Waker) {
        self.writer.register(waker);
    }

    /// Drops that waker.
    pub(crate) fn unpark_limited(&self) {
        drop(self.writer.take());
    }

    pub(crate) fn paused(&self) -> bool {
        self.flags.load(SeqCst) & PAUSED != 0
    }

    /// Registers the reader's waker; the caller checks the flags again afterwards.
    pub(crate) fn park_reader(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    /// Registers the writer's waker and starts the clock if it is not running; on `true` the caller
    /// starts a watchdog.
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

    /// Notifies the waker of flushes; one atomic load if there is none.
    pub(crate) fn flushed(&self) {
        if self.flags.load(Acquire) & DRAIN_WANTED != 0 {
            let waker = {
                let slot = self.extras().drained.lock().unwrap_or_else(PoisonError::into_inner);
                slot.clone()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Drops every waker, now that the stream is dropped: a connection must not keep its own task
    /// alive.
    pub(crate) fn close(&self) {
        self.shared.open.fetch_sub(1, Relaxed);
        self.unacknowledged.close(self.broken());
        self.flags.fetch_or(CLOSED, SeqCst);
        drop(self.reader.take());
        drop(self.writer.take());
        self.end_drain();
    }

    /// Aborts a connection whose peer reads nothing, and counts it.
    pub(crate) fn stall(&self) {
        // Several clocks may notice it at the same time.
        if self.flags.fetch_or(STALLED, SeqCst) & STALLED == 0 {
            self.shared.ended.count(Ended::WriteStall);
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
        let Some(extras) = self.extras.get() else { return };
        let waker = {
            let mut slot = extras.drained.lock().unwrap_or_else(PoisonError::into_inner);
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
