//! Entries as they are stored: short, since there is one for each connection.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use realtime_core::spi::Incarnation;
use realtime_core::{ConnectionId, NodeId, NodeInfo, Presence};
use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// The lease of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Lease {
    pub(super) node: NodeInfo,
    pub(super) incarnation: Incarnation,
    /// The time after which it is over, in milliseconds.
    lease_ms: u64,
}

/// A connection; its times are in milliseconds.
#[derive(Deserialize, Serialize)]
struct Short {
    #[serde(rename = "c")]
    connection: ConnectionId,
    /// The node, unless it is the one whose entry this is.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    #[serde(rename = "p")]
    provider: String,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
    #[serde(rename = "s")]
    since: u64,
}

impl Lease {
    pub(super) fn new(node: NodeInfo, incarnation: Incarnation, lease: Duration) -> Self {
        Self { node, incarnation, lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) fn to_json(&self) -> Result<Bytes, Fault> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|_| Fault::Unexpected("a lease that cannot be written"))
    }

    /// Reads a lease; `None` where there is none any more.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }
}

/// Writes some connections of a node.
pub(crate) fn write(node: NodeId, presences: &[Presence]) -> Result<Bytes, Fault> {
    let short = |presence: &Presence| {
        let since = presence.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Short {
            connection: presence.connection,
            node: (presence.node != node).then_some(presence.node),
            provider: presence.provider.clone(),
            user: presence.user.clone(),
            tenant: presence.tenant.clone(),
            rooms: presence.rooms.clone(),
            since: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    };
    let all: Vec<_> = presences.iter().map(short).collect();
    serde_json::to_vec(&all).map(Bytes::from).map_err(|_| Fault::Unexpected("entries that cannot be written"))
}

/// Reads some connections of a node; none where they cannot be read.
pub(crate) fn read(node: NodeId, data: &[u8]) -> Vec<Presence> {
    let all: Vec<Short> = serde_json::from_slice(data).unwrap_or_default();
    let long = |short: Short| {
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(short.since);
        let mut presence = Presence::new(short.node.unwrap_or(node), short.connection, short.provider, since);
        (presence.user, presence.tenant, presence.rooms) = (short.user, short.tenant, short.rooms);
        presence
    };
    all.into_iter().map(long).collect()
}
