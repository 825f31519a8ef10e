use std::time::Duration;

use crate::values::error::{Error, Result};

/// The amount of records to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogBounds {
    /// The number of records, at least one.
    pub records: usize,
    /// The number of bytes of all records; a larger record is kept alone.
    pub bytes: usize,
    /// The age of a record; the newest is kept however old it is. `None` for any age.
    pub age: Option<Duration>,
    /// The number of idempotency keys, at least one.
    pub keys: usize,
}

impl Default for LogBounds {
    /// Returns the bounds of a log that outlives the process: 100,000 records, 64 MiB, an hour.
    fn default() -> Self {
        Self::new(100_000, 64 * 1024 * 1024).with_age(Duration::from_secs(3600))
    }
}

setters! {
    impl LogBounds {
        /// Sets the number of records.
        with_records(records: usize);
        /// Sets the number of bytes of all records.
        with_bytes(bytes: usize);
        /// Sets the age of a record.
        with_age(age: Duration);
        /// Sets the number of idempotency keys.
        with_keys(keys: usize);
    }
}

impl LogBounds {
    /// Checks that no bound of this log is zero.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the names of the bound and the log.
    pub fn check(&self, log: &str) -> Result<()> {
        let zero = [
            ("records", self.records == 0),
            ("bytes", self.bytes == 0),
            ("age", self.age.is_some_and(|age| age.is_zero())),
            ("keys", self.keys == 0),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => Err(Error::Config(format!("{name} of {log} must not be zero"))),
            None => Ok(()),
        }
    }

    /// Creates bounds of this many records and bytes, of any age, and 100,000 keys.
    #[must_use]
    pub fn new(records: usize, bytes: usize) -> Self {
        Self { records: records.max(1), bytes, age: None, keys: 100_000 }
    }
}
