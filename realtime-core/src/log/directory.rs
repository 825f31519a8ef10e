use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::log::presence::{OnlineCount, OnlineIn, OnlineUser, Presence};
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::node::NodeInfo;
use crate::values::number::number;

/// The incarnation of a node's entries in a directory: a directory that has lost them creates
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[non_exhaustive]
pub struct Incarnation(u64);

number!(Incarnation: random, "the number, as a directory stores it");

/// The presence of users across nodes: each node's connections, as leases that expire when the node
/// stops renewing them.
///
/// A directory answers what is known of the nodes whose lease is valid. It compares no clocks of
/// two machines.
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
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation>;

    /// Returns the nodes whose lease is valid.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn nodes(&self) -> Result<Vec<NodeInfo>>;

    /// Returns a user's connections, in any tenant.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn of_user(&self, user: &str) -> Result<Vec<Presence>>;

    /// Returns up to `most` of the users who are online, in their order, after this one or from the
    /// first one on.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>>;

    /// Returns how many users and connections are online.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount>;
}

#[async_trait]
impl<T: Directory + ?Sized> Directory for Arc<T> {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        (**self).update(node, changes, lease).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        (**self).nodes().await
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        (**self).of_user(user).await
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        (**self).users(online, after, most).await
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        (**self).count(online).await
    }
}

/// One change of a node's entries in the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DirectoryChange {
    /// A registered connection; one that is known is replaced.
    Online(Presence),
    /// A closed connection.
    Offline(ConnectionId),
}
