//! The situations that schedules with several nodes have reached.

use std::collections::BTreeMap;
use std::fmt;

/// The number of times that each situation has been reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesCoverage(BTreeMap<&'static str, u64>);

impl NodesCoverage {
    pub(crate) fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// Returns the situations that must be reached and never were.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        WANTED.into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }
}

impl fmt::Display for NodesCoverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "{what:58}{times:>10}"))
    }
}

const WANTED: [&str; 62] = [
    "a message between nodes was lost",
    "a read failed",
    "absence: a confirmation by another node",
    "absence: a question to the other nodes",
    "absence: the end of rooms",
    "absence: the end of rooms, after a cut",
    "append refused by the broker",
    "append refused: not connected",
    "append with an unknown outcome, and lost",
    "append with an unknown outcome, though taken",
    "append without an answer, and late",
    "append without an answer, and lost",
    "append without an answer, though taken",
    "ask",
    "ask of which every outcome was checked",
    "ask: answered",
    "ask: gone",
    "ask: node lost",
    "ask: timed out",
    "broker cut off from all nodes",
    "broker cut off from one node",
    "close",
    "close of which the count was checked",
    "close that reached connections of several nodes",
    "client closed by another node",
    "client closed for a new epoch",
    "client refused",
    "client registered after a close and another life",
    "connected: epoch",
    "connected: epoch, for its record is gone",
    "connected: expired",
    "connected: resumed",
    "connected: resumed at another node",
    "connected: resumed at another process",
    "directory cut off from a node",
    "directory lost",
    "event",
    "event certainly refused",
    "event of another node",
    "event sent again, with a key, at another node",
    "event to a room",
    "event to a room of a tenant",
    "event to a user",
    "event with an unknown outcome",
    "event with an unknown outcome, in the log",
    "event with an unknown outcome, not in the log",
    "log rolled back",
    "log rolled back, with all nodes",
    "log wiped",
    "new life of the log, begun by a node",
    "new",
    "node killed",
    "node slow to read",
    "node started while others run",
    "node stopped",
    "one node",
    "repeat of a key",
    "room joined",
    "room left",
    "settled",
    "three nodes",
    "two nodes",
];
