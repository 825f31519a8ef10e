use std::time::Duration;

/// The bounds of a log on disk, and when it is synced.
#[derive(Clone, Debug)]
#[must_use]
pub struct DiskOptions {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
    pub(crate) keys: usize,
    pub(crate) sync: Sync,
    pub(crate) lock_wait: Duration,
}

/// The time at which what was appended is on the disk itself, and survives a loss of power. In any
/// mode it survives the end of the process, however it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// This long after the append, at the latest.
    Every(Duration),
    /// Before the append is answered: one sync for all that wait.
    Always,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            records: 100_000,
            bytes: 64 * 1024 * 1024,
            age: Duration::from_secs(3600),
            keys: 100_000,
            sync: Sync::Every(Duration::from_millis(100)),
            lock_wait: Duration::ZERO,
        }
    }
}

impl DiskOptions {
    /// Sets the number of records to keep (at least one); default 100,000. Fewer than the records of
    /// a provider's window leave it a shorter one after a restart.
    pub fn with_records(mut self, records: usize) -> Self {
        self.records = records.max(1);
        self
    }

    /// Sets the number of bytes of records to keep; a larger record is kept alone; default 64 MiB.
    /// They are in memory too. The files take up to twice as much and 192 MiB.
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets the age up to which records are kept, the newest excepted; default an hour.
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets the number of idempotency keys to remember (at least one), whether or not their records
    /// are still there; default 100,000.
    pub fn with_keys(mut self, keys: usize) -> Self {
        self.keys = keys.max(1);
        self
    }

    /// Sets when appends are synced to the disk; default every 100 ms.
    pub fn with_sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Sets how long [`DiskBackplane::open`](crate::DiskBackplane::open) waits for another process
    /// that has the directory; default not at all.
    pub fn with_lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }
}
