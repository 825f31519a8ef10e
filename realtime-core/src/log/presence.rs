//! The values of a directory: connections and users that are online.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::node::NodeId;

/// One connection, as the directory stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Presence {
    /// The node of the connection.
    pub node: NodeId,
    /// The connection.
    pub connection: ConnectionId,
    /// The provider of the connection.
    pub provider: String,
    /// The user, if there is one.
    pub user: Option<String>,
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// The rooms that the connection entered by itself, at most [`Presence::MAX_ROOMS`]; those that
    /// its user was joined to are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// The time at which the connection was registered.
    pub since: SystemTime,
}

impl Presence {
    /// The most rooms of one connection in a directory.
    pub const MAX_ROOMS: usize = 100;

    /// Creates the entry of a connection without a user, a tenant and rooms.
    pub fn new(node: NodeId, connection: ConnectionId, provider: impl Into<String>, since: SystemTime) -> Self {
        Self { node, connection, provider: provider.into(), user: None, tenant: None, rooms: Vec::new(), since }
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the rooms that the connection entered; those beyond [`Presence::MAX_ROOMS`] are left
    /// out.
    #[must_use]
    pub fn with_rooms(mut self, rooms: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.rooms = rooms.into_iter().take(Self::MAX_ROOMS).map(Into::into).collect();
        self
    }

    /// Returns the user of the connection, if there is one.
    #[must_use]
    pub fn online_user(&self) -> Option<OnlineUser> {
        self.user.as_ref().map(|user| OnlineUser { user: user.clone(), tenant: self.tenant.clone() })
    }

    /// Creates the entry of a connection of a node.
    pub(crate) fn of(node: NodeId, info: &ConnectionInfo, since: SystemTime) -> Self {
        Self {
            user: info.identity.user_name().map(str::to_owned),
            tenant: info.identity.tenant_name().map(str::to_owned),
            ..Self::new(node, info.id, info.provider, since)
        }
    }
}

/// A user who is online: of one tenant, or without a tenant. Sorted by user, then by tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OnlineUser {
    /// The user.
    pub user: String,
    /// The tenant, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

impl OnlineUser {
    /// Creates the user of one tenant, or without a tenant.
    pub fn new(user: impl Into<String>, tenant: Option<&str>) -> Self {
        Self { user: user.into(), tenant: tenant.map(str::to_owned) }
    }
}

/// The connections that a question to a directory is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnlineIn {
    /// All connections.
    Everywhere,
    /// The connections of one tenant.
    Tenant(String),
    /// The connections that entered a room by themselves.
    Room(String),
}

impl OnlineIn {
    /// Returns whether a connection is among them.
    #[must_use]
    pub fn contains(&self, presence: &Presence) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Tenant(tenant) => presence.tenant.as_ref() == Some(tenant),
            Self::Room(room) => presence.rooms.contains(room),
        }
    }
}

/// The numbers of users and connections that are online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OnlineCount {
    /// The users, each counted once per tenant; connections without a user count for none.
    pub users: u64,
    /// The connections.
    pub connections: u64,
}

impl OnlineCount {
    /// Creates a count.
    #[must_use]
    pub fn new(users: u64, connections: u64) -> Self {
        Self { users, connections }
    }
}
