use std::time::Duration;

use realtime_core::spi::LogBounds;
use realtime_core::{Error, Result, setters};

/// The bounds of a log on disk, and the times at which it is synced. What cannot work, as a zero,
/// is rejected when the log is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    pub(crate) bounds: LogBounds,
    pub(crate) sync: SyncMode,
    pub(crate) lock_wait: Duration,
    pub(crate) table_bytes: u64,
}

/// The time at which what was appended is on the disk itself, and survives a loss of power. In any
/// mode it survives the end of the process, however it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncMode {
    /// This long after the append, at the latest.
    Every(Duration),
    /// Before the append is acknowledged: one sync for all that wait.
    Always,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            bounds: LogBounds::default(),
            sync: SyncMode::Every(Duration::from_millis(100)),
            lock_wait: Duration::ZERO,
            table_bytes: 16 * 1024 * 1024,
        }
    }
}

setters! {
    impl DiskConfig {
        /// Sets the number of records to keep; default 100,000. Fewer than the records of a
        /// provider's window leave it a shorter one after a restart.
        with_records(records: usize) in bounds;
        /// Sets the number of bytes of records to keep; a larger record is kept alone; default 64
        /// MiB. They are in memory too. The files take up to twice as much and 192 MiB.
        with_bytes(bytes: usize) in bounds;
        /// Sets the age up to which records are kept, the newest excepted; default an hour.
        with_age(age: Duration) in bounds;
        /// Sets the number of idempotency keys to remember, whether or not their records are still
        /// there; default 100,000.
        with_keys(keys: usize) in bounds;
        /// Sets when appends are synced to the disk; default every 100 ms.
        with_sync(sync: SyncMode);
        /// Sets how long [`DiskBackplane::open`](crate::DiskBackplane::open) waits for another
        /// process that has the directory; default not at all.
        with_lock_wait(lock_wait: Duration);
        /// Sets the bytes of records in a table, for tests; it counts when a log is created.
        #[doc(hidden)]
        with_table_bytes(table_bytes: u64);
    }
}

impl DiskConfig {
    /// Checks that no bound is zero.
    pub(crate) fn check(&self) -> Result<()> {
        self.bounds.check("the log on disk")?;
        if self.sync == SyncMode::Every(Duration::ZERO) {
            return Err(Error::Config("sync of the log on disk must not be zero".to_owned()));
        }
        Ok(())
    }
}
