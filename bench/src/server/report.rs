use std::collections::BTreeMap;

use realtime_unified::Stats;
use serde::{Deserialize, Serialize};

/// What a server has seen since it started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Calls of the hook for new connections.
    pub connected: u64,
    /// Calls of the hook for ended connections, by the reason given.
    pub disconnected: BTreeMap<String, u64>,
    /// Each provider's own counters.
    pub stats: BTreeMap<String, Stats>,
}

impl Report {
    /// Connections of now, over all providers.
    pub fn connections(&self) -> u64 {
        self.stats.values().map(|stats| stats.connections).sum()
    }

    /// Calls of the hook for ended connections, whatever the reason.
    pub fn hooks_ended(&self) -> u64 {
        self.disconnected.values().sum()
    }
}
