use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::values::ack::Acks;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::receipt::Receipt;
use crate::values::target::{Scope, Target};

/// Sends events to users, tenants, rooms and everyone, as far as they are connected with one provider. What the service itself
/// and a [`Context`](crate::Context) send reaches them over all of them.
///
/// The name of a user or a room is global: it means the user of this name in every tenant. The calls that end in `_in` mean
/// the user, or the members, of one tenant only.
#[async_trait]
pub trait RealtimeBroadcast: Send + Sync {
    /// Sends an event; resolves when it is in the log and in this node's outboxes.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Unsupported`] and [`crate::Error::TooLarge`] before anything
    /// is logged; [`crate::Error::Backplane`] when nobody got it; [`crate::Error::OutcomeUnknown`] when that is not known.
    async fn send(&self, target: Target, event: Event) -> Result<Receipt>;

    /// [`RealtimeBroadcast::send`] to every connection of a user, whatever the tenant.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_user(&self, user: &str, event: Event) -> Result<Receipt> {
        self.send(Target::user(user), event).await
    }

    /// [`RealtimeBroadcast::send`] to every connection of a user in this tenant.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_user_in(&self, tenant: &str, user: &str, event: Event) -> Result<Receipt> {
        self.send(Target::user_in(tenant, user), event).await
    }

    /// [`RealtimeBroadcast::send`] to every connection of a tenant.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_tenant(&self, tenant: &str, event: Event) -> Result<Receipt> {
        self.send(Target::tenant(tenant), event).await
    }

    /// [`RealtimeBroadcast::send`] to the members of a room.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_room(&self, room: &str, event: Event) -> Result<Receipt> {
        self.send(Target::room(room), event).await
    }

    /// [`RealtimeBroadcast::send`] to the members of a room who belong to this tenant.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_room_in(&self, tenant: &str, room: &str, event: Event) -> Result<Receipt> {
        self.send(Target::room_in(tenant, room), event).await
    }

    /// [`RealtimeBroadcast::send`] to everyone.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_all(&self, event: Event) -> Result<Receipt> {
        self.send(Target::all(), event).await
    }
}

/// Puts users into rooms and takes them out, for all their connections of now and later.
///
/// A bare user name means the user of this name **in every tenant**; where two tenants have users of their own, the calls
/// that end in `_in` are the ones to use. A membership holds until it is left, or until nobody for whom it holds has been
/// connected for longer than the window's age; who resumes from before that end is told `expired`. A user without a tenant is another user than those of the tenants, and only the
/// bare name reaches it.
#[async_trait]
pub trait RoomMembership: Send + Sync {
    /// Joins a user to a room, in every tenant; resolves when sends to the room reach the user's connections here.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`], [`crate::Error::OutcomeUnknown`].
    async fn join_room(&self, user: &str, room: &str) -> Result<()>;

    /// Takes all of a user's connections out of a room, also those that entered it themselves, and ends the user's
    /// memberships in every tenant, however they were made.
    ///
    /// A client that names the room again, and that the policy lets in, gets nothing of before the leave.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`], [`crate::Error::OutcomeUnknown`].
    async fn leave_room(&self, user: &str, room: &str) -> Result<()>;

    /// The rooms a user has been joined to, in whatever tenant, and those that the user's connections of this node entered,
    /// sorted by name.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    async fn user_rooms(&self, user: &str) -> Result<Vec<String>>;

    /// Joins the user of one tenant to a room, and nobody else who has the same name.
    ///
    /// # Errors
    /// Those of [`RoomMembership::join_room`]; [`Error::Unsupported`] where an implementation knows bare names only.
    async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        let _ = (tenant, user, room);
        Err(bare_names_only())
    }

    /// Takes the user of one tenant out of a room, as [`RoomMembership::leave_room`] does; from a membership of the bare name
    /// that user is shut out until the next join.
    ///
    /// # Errors
    /// Those of [`RoomMembership::leave_room`]; [`Error::Unsupported`] where an implementation knows bare names only.
    async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        let _ = (tenant, user, room);
        Err(bare_names_only())
    }

    /// The rooms of one tenant's user: joined with the tenant or by the bare name, and those that its connections of this
    /// node entered, sorted by name.
    ///
    /// # Errors
    /// Those of [`RoomMembership::user_rooms`]; [`Error::Unsupported`] where an implementation knows bare names only.
    async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        let _ = (tenant, user);
        Err(bare_names_only())
    }
}

/// What bidirectional transports add: questions that each matched connection answers, and rooms.
#[async_trait]
pub trait SocketIoBroadcast: RealtimeBroadcast + RoomMembership {
    /// Asks every connection of a user, whatever the tenant; the answers come as they arrive, for this long at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks>;

    /// Asks every member of a room; the answers come as they arrive, for this long at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks>;

    /// Asks every connection of a target, of one tenant's user for instance; the answers come as they arrive, for this long at
    /// most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`]; [`Error::Unsupported`] where an implementation knows users and rooms only.
    async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        match target.scope() {
            Scope::User { name, .. } if target == Target::user(Arc::clone(name)) => {
                self.to_user_with_ack(name, event, timeout).await
            }
            Scope::Room { name, .. } if target == Target::room(Arc::clone(name)) => {
                self.to_room_with_ack(name, event, timeout).await
            }
            _ => Err(Error::Unsupported { provider: CUSTOM.to_owned(), what: "asks of such a target" }),
        }
    }
}

/// What a trait's own method calls a provider whose name it does not know.
const CUSTOM: &str = "custom";

fn bare_names_only() -> Error {
    Error::Unsupported { provider: CUSTOM.to_owned(), what: "rooms within a tenant" }
}
