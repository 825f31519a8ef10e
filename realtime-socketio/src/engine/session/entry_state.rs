use std::sync::atomic::{AtomicBool, Ordering};

/// State of a session's connection to the entry namespace, see [`entry`](crate::engine::entry).
#[derive(Default)]
pub(crate) struct EntryState {
    connected: AtomicBool,
    /// Set while the answer to the CONNECT has not been removed from the output yet.
    hides_answer: AtomicBool,
}

impl EntryState {
    /// Notes that the session is connected to the entry namespace.
    pub(crate) fn set_connected(&self) {
        self.connected.store(true, Ordering::SeqCst);
    }

    /// Returns whether the session is, or was, connected to the entry namespace.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// Has the next answer from the entry namespace removed from the output.
    pub(crate) fn hide_answer(&self) {
        self.hides_answer.store(true, Ordering::SeqCst);
    }

    /// Returns whether the entry namespace's answer is still to be removed from the output.
    pub(crate) fn hides_answer(&self) -> bool {
        self.hides_answer.load(Ordering::SeqCst)
    }

    /// Notes that the entry namespace's answer was removed from the output.
    pub(crate) fn note_answer_hidden(&self) {
        self.hides_answer.store(false, Ordering::SeqCst);
    }
}
