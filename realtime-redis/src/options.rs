use std::time::Duration;

/// The name and the bounds of a log in Redis.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisOptions {
    pub(crate) prefix: String,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
    pub(crate) keys: usize,
}

impl Default for RedisOptions {
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

impl RedisOptions {
    /// Sets the name that all keys begin with, in braces; default `realtime`. Services with
    /// different names share nothing, and all nodes of a service have the same one. It is not empty
    /// and contains no braces.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the number of records to keep (at least one); default 100,000. Fewer than the records of
    /// a provider's window leave it a shorter one after a restart. This bound and the following
    /// ones should be the same on all nodes, since those of the node that appends hold.
    pub fn with_records(mut self, records: usize) -> Self {
        self.records = records.max(1);
        self
    }

    /// Sets the number of bytes of records to keep; a larger record is kept alone; default 64 MiB.
    pub fn with_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets the age up to which records are kept, the newest excepted; default an hour. Applied at
    /// each append, and once a minute; once in that age if it is shorter.
    pub fn with_age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets the number of idempotency keys to remember (at least one), whether or not their records
    /// are still there; default 100,000, of about 150 bytes each.
    pub fn with_keys(mut self, keys: usize) -> Self {
        self.keys = keys.max(1);
        self
    }
}
