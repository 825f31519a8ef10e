//! The positions of the bytes that were written, and of those that have arrived.

use std::sync::atomic::Ordering::Relaxed;

use crate::wire::Wire;

impl Wire {
    /// Returns the number of bytes that were written to the connection, modulo 2^32: those that the
    /// kernel has accepted. Under TLS those of the application, which may still be in a record that
    /// the kernel has not accepted.
    pub fn written(&self) -> u32 {
        #[cfg(feature = "tls")]
        if let Some(records) = self.records() {
            return records.written();
        }
        self.sent()
    }

    /// Returns how many of these bytes the peer's host has acknowledged, modulo 2^32, at the latest
    /// when the stream was closed; all of them where the kernel does not report it (only that of
    /// Linux and Android does), and where the stream was closed by its own side alone, since the
    /// kernel goes on sending then.
    ///
    /// Asks the kernel. Behind a reverse proxy the host is the proxy's.
    pub fn acknowledged(&self) -> u32 {
        let unacknowledged = self.unacknowledged.bytes(self.broken());
        let acknowledged = self.sent().wrapping_sub(unacknowledged);
        #[cfg(feature = "tls")]
        if let Some(records) = self.records() {
            return records.written_at(acknowledged);
        }
        acknowledged
    }

    /// Notes that the stream's own side has been shut down.
    pub(crate) fn end_writes(&self) {
        self.unacknowledged.end_writes();
    }

    /// Notes that the peer's side has been shut down.
    pub(crate) fn end_reads(&self) {
        self.unacknowledged.end_reads();
    }

    pub(crate) fn note_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u32, Relaxed);
    }

    /// Returns the number of bytes that the kernel has accepted, modulo 2^32.
    fn sent(&self) -> u32 {
        self.written.load(Relaxed)
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use crate::records::Records;
    use crate::wire::Wire;

    impl Wire {
        /// Begins to count the application's bytes apart from those of TLS.
        pub(crate) fn begin_records(&self) {
            let _ = self.extras().records.set(Mutex::new(Records::begin(self.sent())));
        }

        /// Notes bytes of the application; `is_sent` if the kernel has accepted all of them.
        pub(crate) fn note_records(&self, bytes: usize, is_sent: bool) {
            if let Some(mut records) = self.records() {
                records.note(bytes as u32, is_sent.then(|| self.sent()));
            }
        }

        pub(super) fn records(&self) -> Option<MutexGuard<'_, Records>> {
            let records = self.extras.get()?.records.get()?;
            Some(records.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }
}
