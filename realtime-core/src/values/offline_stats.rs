use std::collections::BTreeMap;
use std::time::Duration;

/// The activity of this node's [`OfflineSink`](crate::OfflineSink) since it started; counters only
/// grow, the rest are current values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfflineStats {
    /// The number of calls by outcome: `failed`, `ok`, `panicked` and `timed_out` count attempts,
    /// `given_up` counts events for which no attempt succeeded.
    pub calls: BTreeMap<&'static str, u64>,
    /// The number of records of which it is not known whether a user missed them: they had left
    /// the log when their turn came, could not be read, or the user was at a node without a sink.
    pub unknown: u64,
    /// `true` if this node is the one that decides and calls.
    pub works: bool,
    /// The time by which the oldest undecided record is overdue; zero on nodes that do not decide.
    pub lag: Duration,
}
