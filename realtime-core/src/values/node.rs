use serde::{Deserialize, Serialize};

/// The newest version of records that this build reads.
pub(crate) const READS: u8 = 3;

/// The name of one node, random at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(#[serde(with = "uuid::serde::simple")] uuid::Uuid);

impl NodeId {
    /// Creates a new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A node, as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The id.
    pub id: NodeId,
    /// The name that the application gave the node, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The newest version of records that the node reads.
    pub reads: u8,
    /// `true` if the node has an offline sink, and so notifies the others of the events that its
    /// connections got.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline_sink: bool,
}

impl NodeInfo {
    /// Creates a node that reads what this build reads, without a name.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self { id, name: None, reads: READS, offline_sink: false }
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets that the node has an offline sink.
    #[must_use]
    pub fn with_offline_sink(mut self) -> Self {
        self.offline_sink = true;
        self
    }
}

impl std::fmt::Display for NodeInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.id.fmt(f),
        }
    }
}
