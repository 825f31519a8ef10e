use std::time::Duration;

use realtime_core::spi::LogBounds;
use realtime_core::{Result, setters};

/// The name and the bounds of a log in Redis. What cannot work, as a zero, is rejected at the
/// connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    pub(crate) prefix: String,
    pub(crate) bounds: LogBounds,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { prefix: "realtime".to_owned(), bounds: LogBounds::default() }
    }
}

setters! {
    impl RedisConfig {
        /// Sets the name that all keys begin with, in braces; default `realtime`. Services with
        /// different names share nothing, and all nodes of a service have the same one. It is not
        /// empty and contains no braces.
        with_prefix(prefix: impl Into<String>);
        /// Sets the number of records to keep; default 100,000. Fewer than the records of a
        /// provider's window leave it a shorter one after a restart. This bound and the following
        /// ones should be the same on all nodes, since those of the node that appends hold.
        with_records(records: usize) in bounds;
        /// Sets the number of bytes of records to keep; a larger record is kept alone; default 64
        /// MiB.
        with_bytes(bytes: usize) in bounds;
        /// Sets the age up to which records are kept, the newest excepted; default an hour. Applied
        /// at each append, and once a minute; once in that age if it is shorter.
        with_age(age: Duration) in bounds;
        /// Sets the number of idempotency keys to remember, whether or not their records are still
        /// there; default 100,000, of about 150 bytes each.
        with_keys(keys: usize) in bounds;
    }
}

impl RedisConfig {
    /// Checks that no bound is zero.
    pub(crate) fn check(&self) -> Result<()> {
        self.bounds.check("the log in Redis")
    }

    /// Returns the age up to which records are kept.
    pub(crate) fn age(&self) -> Duration {
        self.bounds.age.unwrap_or(Duration::MAX)
    }
}
