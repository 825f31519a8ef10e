use async_trait::async_trait;

use crate::Identity;

/// Which rooms a client may enter by naming them itself. Rooms the server joins a user to are not asked about.
#[async_trait]
pub trait RoomPolicy: Send + Sync + 'static {
    /// Decides for one room, whose name has been checked.
    async fn access(&self, identity: &Identity, room: &str) -> RoomAccess;
}

/// The answer of a [`RoomPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomAccess {
    /// In; a resuming client also gets what it missed.
    Allow,
    /// In, but only what is sent from now on.
    AllowFromNow,
    /// Not in.
    Deny,
}

/// The default: no client enters a room by naming it.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyRooms;

#[async_trait]
impl RoomPolicy for DenyRooms {
    async fn access(&self, _: &Identity, _: &str) -> RoomAccess {
        RoomAccess::Deny
    }
}

/// Every client may enter every room: for demos and rooms that hold no secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowRooms;

#[async_trait]
impl RoomPolicy for AllowRooms {
    async fn access(&self, _: &Identity, _: &str) -> RoomAccess {
        RoomAccess::Allow
    }
}
