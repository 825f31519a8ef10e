use std::collections::BTreeMap;

use realtime_unified::Stats;
use serde::{Deserialize, Serialize};

/// The counters of a server since it started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The calls of the hook for new connections.
    pub connected: u64,
    /// The calls of the hook for closed connections, by close reason.
    pub disconnected: BTreeMap<String, u64>,
    /// Each provider's own counters.
    pub stats: BTreeMap<String, Stats>,
}

impl Report {
    /// Returns the number of current connections, over all providers.
    pub fn connections(&self) -> u64 {
        self.stats.values().map(|stats| stats.connections).sum()
    }

    /// Returns the calls of the hook for closed connections, for any reason.
    pub fn hooks_ended(&self) -> u64 {
        self.disconnected.values().sum()
    }
}
