use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::values::identity::Identity;

/// The name of one connection, random and the same on every node; not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(#[serde(with = "uuid::serde::simple")] uuid::Uuid);

impl ConnectionId {
    /// Creates a new random id.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl std::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ConnectionId {
    type Err = crate::values::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text).map(Self).map_err(|_| crate::values::error::Error::InvalidName {
            what: "connection",
            reason: "it is not a connection id",
        })
    }
}

/// Metadata of a connection, for hooks, logs and stats.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The connection's id.
    pub id: ConnectionId,
    /// The provider's name.
    pub provider: &'static str,
    /// The identity behind the connection.
    pub identity: Identity,
    /// `true` if the connection resumed from a cursor.
    pub resumed: bool,
    /// The client's address, if it is known: the one that trusted proxies name, or the TCP
    /// connection's own.
    pub address: Option<IpAddr>,
}

impl ConnectionInfo {
    /// Creates the metadata of a new connection of this identity, for tests.
    pub fn new(provider: &'static str, identity: Identity) -> Self {
        Self { id: ConnectionId::random(), provider, identity, resumed: false, address: None }
    }
}
