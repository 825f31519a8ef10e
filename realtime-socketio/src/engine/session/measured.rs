//! The measurements of a session's connection: the times of writes and of heartbeats.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use realtime_core::spi::{AtomicStamp, Stamp};

/// Receiver of the times of all sessions.
pub(crate) trait Observer: Send + Sync {
    /// Counts the time since an event was sent that has been written.
    fn written(&self, sent: Stamp);

    /// Counts the time from a ping to its pong.
    fn round_trip(&self, time: Duration);
}

/// The times of one session; not counted before it has a connection.
#[derive(Default)]
pub(crate) struct Measured {
    observer: OnceLock<Arc<dyn Observer>>,
    /// When the oldest timed event was sent that is in the channel and not written.
    unwritten: AtomicStamp,
}

impl Measured {
    /// Sets the receiver, unless there is one.
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// Notes that an event is put into the channel that was sent at this moment, if it is timed.
    pub(crate) fn queue(&self, sent: Stamp) {
        self.unwritten.set_first(sent);
    }

    /// Notes that the channel was written; cheap when no timed event was in it.
    pub(crate) fn written(&self) {
        let sent = self.unwritten.take();
        if sent != Stamp::NONE
            && let Some(observer) = self.observer.get()
        {
            observer.written(sent);
        }
    }

    /// Notes that a pong came this long after its ping.
    pub(crate) fn round_trip(&self, time: Duration) {
        if let Some(observer) = self.observer.get() {
            observer.round_trip(time);
        }
    }
}
