use std::time::Duration;

use serde::Serialize;

use crate::values::node::NodeInfo;

/// The health of a node's log, for a readiness probe and for monitoring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The node.
    pub node: NodeInfo,
    /// `true` while sends can be expected to succeed and new connections are accepted.
    pub ready: bool,
    /// The time that the last probe of the log took, a write that is read back; `None` before the
    /// first one, and when the last one failed.
    pub probe: Option<Duration>,
    /// The error of the last probe, if it failed.
    pub error: Option<String>,
}

impl Health {
    /// Creates the health of a node that is ready, before its first probe.
    #[must_use]
    pub fn new(node: NodeInfo) -> Self {
        Self { node, ready: true, probe: None, error: None }
    }
}
