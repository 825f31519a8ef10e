use std::time::Duration;

/// The size of what a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSize {
    /// The number of records.
    pub records: u64,
    /// The bytes of the records, as the log counts them against its bound.
    pub bytes: u64,
    /// The age of the oldest record, by the log's own clock; `None` if there is no record, or it is
    /// not known.
    pub age: Option<Duration>,
}

impl LogSize {
    /// Creates the size of a log with this many records of these bytes.
    #[must_use]
    pub fn new(records: u64, bytes: u64, age: Option<Duration>) -> Self {
        Self { records, bytes, age }
    }
}
