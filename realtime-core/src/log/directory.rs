use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::error::Result;
use crate::values::number::number;

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

/// The incarnation of a node's entries in a directory: a directory that has lost them creates
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[non_exhaustive]
pub struct Incarnation(u64);

number!(Incarnation: random, "the number, as a directory stores it");

/// The presence of users across nodes: each node's connections, as leases that expire when the node
/// stops renewing them.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Applies a node's changes, in order, and renews its lease for this duration. Applying a
    /// change a second time has no effect.
    ///
    /// Returns the incarnation of the node's entries: created when the directory holds nothing of
    /// the node, not even that it has no entries, and stored with them in the same step, so that it
    /// is lost with them. A node's updates are sequential; the node sends all its entries again
    /// when the returned incarnation differs from the last one.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`], whether or not the changes were applied; the node sends the
    /// same changes again.
    async fn update(&self, node: NodeId, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation>;

    /// Returns a user's connections, on all nodes whose lease is valid.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn of_user(&self, user: &str) -> Result<Vec<Presence>>;

    /// Returns a tenant's connections, on all nodes whose lease is valid.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn of_tenant(&self, tenant: &str) -> Result<Vec<Presence>>;
}

#[async_trait]
impl<T: Directory + ?Sized> Directory for Arc<T> {
    async fn update(&self, node: NodeId, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        (**self).update(node, changes, lease).await
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        (**self).of_user(user).await
    }

    async fn of_tenant(&self, tenant: &str) -> Result<Vec<Presence>> {
        (**self).of_tenant(tenant).await
    }
}

/// One change of a node's entries in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DirectoryChange {
    /// A registered connection.
    Online(Presence),
    /// A closed connection.
    Offline(ConnectionId),
}

/// One connection, as the directory stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Presence {
    /// The connection.
    pub connection: ConnectionId,
    /// The provider of the connection.
    pub provider: String,
    /// The user, if there is one.
    pub user: Option<String>,
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// The time at which the connection was registered.
    pub since: SystemTime,
}

impl Presence {
    /// Creates the entry of a connection without a user and a tenant.
    pub fn new(connection: ConnectionId, provider: impl Into<String>, since: SystemTime) -> Self {
        Self { connection, provider: provider.into(), user: None, tenant: None, since }
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

    /// Creates the entry of a connection of this node.
    pub(crate) fn of(info: &ConnectionInfo, since: SystemTime) -> Self {
        Self {
            connection: info.id,
            provider: info.provider.to_owned(),
            user: info.identity.user_name().map(str::to_owned),
            tenant: info.identity.tenant_name().map(str::to_owned),
            since,
        }
    }
}
