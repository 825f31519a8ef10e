use std::future::Future;

use async_trait::async_trait;

use crate::traits::context::Context;

/// Decides which rooms a client may enter by naming them. The policy is not asked about rooms that
/// the server joins a user to.
///
/// A type of the application's, or an async closure:
///
/// ```
/// use realtime_core::{Context, RoomAccess, RoomPolicy};
///
/// fn policy() -> impl RoomPolicy {
///     async |cx: Context, room: String| match cx.identity().tenant_name() {
///         Some(tenant) if room.starts_with(tenant) => RoomAccess::Allow,
///         _ => RoomAccess::Deny,
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a room policy",
    label = "expected a `RoomPolicy`",
    note = "a room policy is `AllowRooms`, a type with `#[async_trait] impl RoomPolicy for …`, or a closure \
            `async |cx: Context, room: String| -> RoomAccess {{ … }}` that captures nothing by reference"
)]
pub trait RoomPolicy: Send + Sync + 'static {
    /// Decides for one room, whose name has been checked. For the rooms that a client names when it
    /// connects, the policy is asked before the connection exists: events sent to the connection
    /// are not delivered then, and it is in no room yet.
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess;

    /// Returns the advice for the developer where the policy denies: a hint for the log, and in
    /// debug builds for the client too. By default `None`.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}

#[async_trait]
#[diagnostic::do_not_recommend]
impl<F, Fut> RoomPolicy for F
where
    F: Fn(Context, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = RoomAccess> + Send,
{
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess {
        self(cx.clone(), room.to_owned()).await
    }
}

/// The decision of a [`RoomPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomAccess {
    /// Entry with history: a client that resumes also gets the room's events since its position, as
    /// a member or not.
    ///
    /// A client keeps its cursors for as long as the window reaches. A client that was removed from
    /// a room and enters again gets the room's events from in between, from the moment of
    /// [`leave_room`](crate::RoomMembership::leave_room) on if that was how it was removed: where
    /// the client must not see those, answer [`RoomAccess::AllowFromNow`].
    Allow,
    /// Entry without history: the client gets only events that are sent after this moment.
    AllowFromNow,
    /// No entry.
    Deny,
}

/// The default policy: no client enters a room by naming it.
#[derive(Clone, Copy, Debug, Default)]
pub struct DenyRooms;

#[async_trait]
impl RoomPolicy for DenyRooms {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        RoomAccess::Deny
    }

    fn hint(&self) -> Option<&'static str> {
        Some("no room_policy(…) is set: clients cannot name rooms")
    }
}

/// The policy that allows every client to enter every room: for demos and rooms that hold no
/// secrets.
///
/// With a cursor from when it was a member, a client also gets the room's events from after its
/// removal, see [`RoomAccess::Allow`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowRooms;

#[async_trait]
impl RoomPolicy for AllowRooms {
    async fn access(&self, _: &Context, _: &str) -> RoomAccess {
        RoomAccess::Allow
    }
}
