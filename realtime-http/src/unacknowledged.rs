//! How many bytes of a connection its peer's host has not acknowledged.
//!
//! The only place with `unsafe`: no safe crate asks the kernel for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// Where the kernel counts the bytes of a TCP socket that were written and not acknowledged; see
/// [`Link::send_queue`](crate::Link::send_queue).
///
/// It is of use for as long as the socket is open. Elsewhere than on Linux and Android there is none.
#[derive(Debug)]
pub struct SendQueue(i32);

#[cfg(any(target_os = "android", target_os = "linux"))]
impl SendQueue {
    pub(crate) fn of(stream: &TcpStream) -> Option<Self> {
        use std::os::fd::AsRawFd;
        Some(Self(stream.as_raw_fd()))
    }

    /// `SIOCOUTQ` of tcp(7), which has the number of `TIOCOUTQ`: what was written less what was acknowledged. A reset leaves
    /// it as it was; an end of our side that is not acknowledged counts as a byte.
    #[allow(unsafe_code, reason = "no safe crate offers it")]
    fn bytes(&self) -> u32 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one int to where the pointer leads, which is one and outlives the call; of a descriptor
        // that is no socket, or none, it writes the same or nothing.
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

/// The unacknowledged bytes of a connection, also when it is gone.
#[derive(Debug)]
pub(crate) struct Unacknowledged(Mutex<State>);

/// Small, for each connection has it. The lock is held while the kernel is asked, so that the socket's number is nobody
/// else's by then.
#[derive(Debug)]
struct State {
    /// The socket's, while it is open and the kernel tells; then how many bytes there were when it was closed.
    number: i32,
    is_open: bool,
    /// Our side has ended.
    ended: bool,
    /// The peer's side has ended.
    left: bool,
}

impl State {
    fn bytes(&self, broken: bool) -> u32 {
        // After our own end in order the kernel goes on until all is acknowledged, and nobody is told.
        let goes_on = self.ended && !self.left && !broken;
        if goes_on {
            0
        } else if self.is_open {
            // Our own end is acknowledged last.
            SendQueue(self.number).bytes().saturating_sub(self.ended.into())
        } else {
            self.number.unsigned_abs()
        }
    }
}

impl Unacknowledged {
    pub(crate) fn new(queue: Option<SendQueue>) -> Self {
        let (number, is_open) = queue.map_or((0, false), |queue| (queue.0, true));
        Self(Mutex::new(State { number, is_open, ended: false, left: false }))
    }

    pub(crate) fn bytes(&self, broken: bool) -> u32 {
        self.lock().bytes(broken)
    }

    /// Notes that our side has ended.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
    }

    /// Notes that the peer's side has ended.
    pub(crate) fn leave(&self) {
        self.lock().left = true;
    }

    /// Notes how many there are, for the socket is about to be closed.
    pub(crate) fn close(&self, broken: bool) {
        let mut state = self.lock();
        state.number = state.bytes(broken).cast_signed();
        state.is_open = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
