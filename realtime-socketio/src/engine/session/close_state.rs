use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::session::cause::Cause;

/// Close of a session: started or not, and its cause. The session is open before, and removed
/// after.
#[derive(Default)]
pub(crate) struct CloseState {
    closing: AtomicBool,
    cause: OnceLock<Cause>,
    /// Set when the websocket's stream ended or failed without a close from either side.
    transport_lost: AtomicBool,
}

impl CloseState {
    /// Starts the close. Returns false if it was started before.
    pub(crate) fn start(&self) -> bool {
        !self.closing.swap(true, Ordering::SeqCst)
    }

    /// Returns whether the session is closing.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Sets the cause. Returns false if there is one already, which stays.
    pub(crate) fn set_cause(&self, cause: Cause) -> bool {
        self.cause.set(cause).is_ok()
    }

    /// Returns the cause for which this side closed the session, if it did so for one.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    /// Notes that the websocket's stream ended without a close.
    pub(crate) fn set_transport_lost(&self) {
        self.transport_lost.store(true, Ordering::SeqCst);
    }

    /// Returns whether the websocket's stream ended without a close.
    pub(crate) fn is_transport_lost(&self) -> bool {
        self.transport_lost.load(Ordering::SeqCst)
    }
}
