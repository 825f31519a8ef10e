//! The number of bytes of a connection that the peer's host has not acknowledged.
//!
//! The only module with `unsafe`: no safe crate asks the kernel for this number.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// The kernel's counter of the bytes of a TCP socket that were written and not acknowledged; see
/// [`ByteStream::send_queue`](crate::ByteStream::send_queue).
///
/// Usable for as long as the socket is open. Exists on Linux and Android only.
#[derive(Debug)]
pub struct SendQueue(i32);

#[cfg(any(target_os = "android", target_os = "linux"))]
impl SendQueue {
    pub(crate) fn of(stream: &TcpStream) -> Option<Self> {
        use std::os::fd::AsRawFd;
        Some(Self(stream.as_raw_fd()))
    }

    /// Asks for `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`: the written bytes minus
    /// the acknowledged ones. A reset does not change it; a FIN of our side that is not
    /// acknowledged counts as a byte.
    #[allow(unsafe_code, reason = "no safe crate offers it")]
    fn bytes(&self) -> u32 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one int through the pointer, which points to one that outlives
        // the call; for a descriptor that is no socket, or none, it writes an int too, or nothing.
        let done = unsafe { libc::ioctl(self.0, libc::TIOCOUTQ, &raw mut bytes) };
        if done == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
    }
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
impl SendQueue {
    pub(crate) fn of(_: &TcpStream) -> Option<Self> {
        None
    }

    fn bytes(&self) -> u32 {
        0
    }
}

/// The unacknowledged bytes of a connection, also after it is closed.
#[derive(Debug)]
pub(crate) struct Unacknowledged(Mutex<State>);

/// The state of the counter: small, since each connection has one. The lock is held while the
/// kernel is asked, so that the descriptor cannot belong to another socket by then.
#[derive(Debug)]
struct State {
    /// The socket's descriptor, while it is open and the kernel has the counter; then the number of
    /// bytes at the time of closing.
    number: i32,
    is_open: bool,
    /// Set when our side has been shut down.
    shut: bool,
    /// Set when the peer's side has been shut down.
    eof: bool,
}

impl State {
    fn bytes(&self, broken: bool) -> u32 {
        // After an orderly shutdown of our side the kernel goes on until all is acknowledged,
        // without a report.
        let continues = self.shut && !self.eof && !broken;
        if continues {
            0
        } else if self.is_open {
            // The FIN of our side is acknowledged last.
            SendQueue(self.number).bytes().saturating_sub(self.shut.into())
        } else {
            self.number.unsigned_abs()
        }
    }
}

impl Unacknowledged {
    pub(crate) fn new(queue: Option<SendQueue>) -> Self {
        let (number, is_open) = queue.map_or((0, false), |queue| (queue.0, true));
        Self(Mutex::new(State { number, is_open, shut: false, eof: false }))
    }

    pub(crate) fn bytes(&self, broken: bool) -> u32 {
        self.lock().bytes(broken)
    }

    /// Notes that our side has been shut down.
    pub(crate) fn end_writes(&self) {
        self.lock().shut = true;
    }

    /// Notes that the peer's side has been shut down.
    pub(crate) fn end_reads(&self) {
        self.lock().eof = true;
    }

    /// Stores the current number, since the socket is about to be closed.
    pub(crate) fn close(&self, broken: bool) {
        let mut state = self.lock();
        state.number = state.bytes(broken).cast_signed();
        state.is_open = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
