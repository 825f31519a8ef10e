use std::time::Duration;

use realtime_core::{Error, Result, setters};

/// The name and the bounds of a log in Redis. What cannot work, as a zero, is rejected at the
/// connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    pub(crate) prefix: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
    pub(crate) keys: usize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            prefix: "realtime".to_owned(),
            records: 100_000,
            bytes: 64 * 1024 * 1024,
            age: Duration::from_secs(3600),
            keys: 100_000,
        }
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
        with_records(records: usize);
        /// Sets the number of bytes of records to keep; a larger record is kept alone; default 64
        /// MiB.
        with_bytes(bytes: usize);
        /// Sets the age up to which records are kept, the newest excepted; default an hour. Applied
        /// at each append, and once a minute; once in that age if it is shorter.
        with_age(age: Duration);
        /// Sets the number of idempotency keys to remember, whether or not their records are still
        /// there; default 100,000, of about 150 bytes each.
        with_keys(keys: usize);
    }
}

impl RedisConfig {
    /// Checks that no bound is zero.
    pub(crate) fn check(&self) -> Result<()> {
        let zero = [
            ("records", self.records == 0),
            ("bytes", self.bytes == 0),
            ("age", self.age.is_zero()),
            ("keys", self.keys == 0),
        ];
        match zero.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => Err(Error::Config(format!("{name} of the log in Redis must not be zero"))),
            None => Ok(()),
        }
    }
}
