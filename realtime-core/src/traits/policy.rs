use async_trait::async_trait;

use crate::traits::context::Context;

/// Which rooms a client may enter by naming them itself. Rooms the server joins a user to are not asked about.
#[async_trait]
pub trait RoomPolicy: Send + Sync + 'static {
    /// Decides for one room, whose name has been checked. For the rooms that a client names when it connects it is asked before
    /// the connection is there: what is sent to that does not come then, and it is in no room yet.
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess;

    /// What a developer should know where it denies: it goes to the log, and in debug builds to the client too. By default
    /// nothing.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}

/// The answer of a [`RoomPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomAccess {
    /// In; a resuming client also gets what the room was sent since its place, as a member or not.
    ///
    /// A client keeps its places for as long as the window reaches. One that was put out of a room and is let in again gets what
    /// the room was sent in between, from the moment of [`leave_room`](crate::RoomMembership::leave_room) on if that was how
    /// it was put out: where that is not for it, answer [`RoomAccess::AllowFromNow`].
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
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        RoomAccess::Deny
    }

    fn hint(&self) -> Option<&'static str> {
        Some("no room_policy(…) is set, so that clients can name no rooms")
    }
}

/// Every client may enter every room: for demos and rooms that hold no secrets.
///
/// With the place of a time when it was a member, a client also gets what the room was sent after it was put out, see
/// [`RoomAccess::Allow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowRooms;

#[async_trait]
impl RoomPolicy for AllowRooms {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        RoomAccess::Allow
    }
}
