use std::collections::BTreeMap;

use crate::values::ack_counters::AckStats;
use crate::values::distribution::Distribution;
use crate::values::log_size::LogSize;
use crate::values::offline_stats::OfflineStats;

/// The activity of this node's side of the log since it started; counters only grow, the rest are
/// current values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// The number of events and asks that were sent here, by the kind of their target: `all`,
    /// `connection`, `room`, `tenant` or `user`. A repeat of an idempotency key does not count.
    pub published: BTreeMap<&'static str, u64>,
    /// The number of appends of this node, joins, leaves and closes included, by outcome:
    /// `key_reused`, `ok`, `refused`, `repeated` or `unknown`.
    pub appends: BTreeMap<&'static str, u64>,
    /// The times that appends took until this node had applied the record, of one in eight; empty
    /// without the feature `metrics`.
    pub append_times: Distribution,
    /// The outcomes of this node's asks, by provider.
    pub acks: BTreeMap<&'static str, AckStats>,
    /// The work that the node's offline sink has done; `None` if it has none.
    pub offline: Option<OfflineStats>,
    /// `true` while the log is read and can be written.
    pub up: bool,
    /// The number of records that the log had, when it was asked within the last second, and that
    /// are not applied here; `None` if this node does not read the log.
    pub lag: Option<u64>,
    /// The size of the log when it was last asked, within the last ten seconds; `None` if the log
    /// does not report it, and without the feature `metrics`.
    pub size: Option<LogSize>,
}
