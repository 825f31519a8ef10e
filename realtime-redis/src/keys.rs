use realtime_core::NodeId;

use crate::error::Fault;

/// The names of a service's keys. All have the same part in braces, so that they are on one shard
/// of a cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) prefix: String,
    /// The keys of the log, in the order in which its scripts take them.
    pub(crate) log: [String; 6],
    pub(crate) nodes: String,
    /// The information on each node, by its id.
    pub(crate) names: String,
    /// The index of the directory.
    pub(crate) online: String,
    /// The stream of the probe.
    pub(crate) probe: String,
    /// The tokens that are revoked.
    pub(crate) revoked: String,
    /// The channel of the pipe.
    pub(crate) pipe: String,
}

impl Keys {
    /// Creates the names; the database's number counts for the channel, which is the server's.
    pub(crate) fn new(prefix: &str, database: i64) -> Result<Self, Fault> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(Fault::Config(format!("the prefix \"{prefix}\" must not be empty, nor contain braces")));
        }
        let key = |name: &str| format!("{{{prefix}}}:{name}");
        Ok(Self {
            prefix: prefix.to_owned(),
            log: ["meta", "log", "changes", "keys", "order", "rooms"].map(key),
            nodes: key("nodes"),
            names: key("names"),
            online: key("online"),
            probe: key("probe"),
            revoked: key("revoked"),
            pipe: key(&format!("pipe:{database}")),
        })
    }

    pub(crate) fn meta(&self) -> &str {
        &self.log[0]
    }

    pub(crate) fn records(&self) -> &str {
        &self.log[1]
    }

    pub(crate) fn changes(&self) -> &str {
        &self.log[2]
    }

    pub(crate) fn rooms(&self) -> &str {
        &self.log[5]
    }

    /// Returns the key of a node's entries in the directory.
    pub(crate) fn node(&self, node: &str) -> String {
        format!("{{{}}}:node:{node}", self.prefix)
    }

    /// Returns the channel of the pipe for one node.
    pub(crate) fn pipe_of(&self, node: NodeId) -> String {
        format!("{}:{node}", self.pipe)
    }
}
