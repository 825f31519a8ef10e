use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::values::ack::Acks;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::receipt::Receipt;
use crate::values::target::{Scope, Target};

/// Sends events to users, tenants, rooms and everyone, as far as they are connected with one
/// provider. Sends of the service itself and of a [`Context`](crate::Context) go over all
/// providers.
///
/// The name of a user or a room is global: it means the user of this name in every tenant. The
/// methods that end in `_in` address the user, or the members, of one tenant only.
#[async_trait]
pub trait RealtimeBroadcast: Send + Sync {
    /// Sends an event; resolves when it is in the log and in this node's outboxes.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Unsupported`] and [`crate::Error::TooLarge`]
    /// before anything is logged; [`crate::Error::Backplane`] when no connection got the event;
    /// [`crate::Error::OutcomeUnknown`] when that is not known.
    async fn send(&self, target: Target, event: Event) -> Result<Receipt>;

    /// Sends to every connection of a user, in any tenant, as [`RealtimeBroadcast::send`]
    /// does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_user(&self, user: &str, event: Event) -> Result<Receipt> {
        self.send(Target::user(user), event).await
    }

    /// Sends to every connection of a user in this tenant, as [`RealtimeBroadcast::send`] does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_user_in(&self, tenant: &str, user: &str, event: Event) -> Result<Receipt> {
        self.send(Target::user_in(tenant, user), event).await
    }

    /// Sends to every connection of a tenant, as [`RealtimeBroadcast::send`] does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_tenant(&self, tenant: &str, event: Event) -> Result<Receipt> {
        self.send(Target::tenant(tenant), event).await
    }

    /// Sends to the members of a room, as [`RealtimeBroadcast::send`] does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_room(&self, room: &str, event: Event) -> Result<Receipt> {
        self.send(Target::room(room), event).await
    }

    /// Sends to the members of a room that belong to this tenant, as [`RealtimeBroadcast::send`]
    /// does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_room_in(&self, tenant: &str, room: &str, event: Event) -> Result<Receipt> {
        self.send(Target::room_in(tenant, room), event).await
    }

    /// Sends to everyone, as [`RealtimeBroadcast::send`] does.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_all(&self, event: Event) -> Result<Receipt> {
        self.send(Target::all(), event).await
    }
}

/// Adds users to rooms and removes them, for all their current and later connections.
///
/// A bare user name means the user of this name **in every tenant**; where two tenants have users
/// of their own, the methods that end in `_in` are the ones to use. A membership lasts until the
/// user leaves the room, or until the user has had no connection for longer than the window's age;
/// a client that resumes from a cursor before that expiry gets `expired`. A user without a tenant
/// is a different user from those of the tenants, and only the bare name addresses that user.
#[async_trait]
pub trait RoomMembership: Send + Sync {
    /// Joins a user to a room, in every tenant; resolves when sends to the room reach the user's
    /// connections on this node.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`],
    /// [`crate::Error::OutcomeUnknown`].
    async fn join_room(&self, user: &str, room: &str) -> Result<()>;

    /// Removes all of a user's connections from a room, also those that entered it themselves, and
    /// ends the user's memberships in every tenant, however they were made.
    ///
    /// A client that names the room again, and that the policy accepts, gets nothing that was sent
    /// before the leave.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`],
    /// [`crate::Error::OutcomeUnknown`].
    async fn leave_room(&self, user: &str, room: &str) -> Result<()>;

    /// Returns the rooms a user has been joined to, in any tenant, and those that the user's
    /// connections of this node entered, sorted by name.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    async fn user_rooms(&self, user: &str) -> Result<Vec<String>>;

    /// Joins the user of one tenant to a room, without the users of the same name in other tenants.
    ///
    /// # Errors
    /// Those of [`RoomMembership::join_room`]; [`Error::Unsupported`] where an implementation knows
    /// bare names only.
    async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        let _ = (tenant, user, room);
        Err(bare_names_only())
    }

    /// Removes the user of one tenant from a room, as [`RoomMembership::leave_room`] does; a
    /// membership of the bare name then excludes that user until the next join.
    ///
    /// # Errors
    /// Those of [`RoomMembership::leave_room`]; [`Error::Unsupported`] where an implementation
    /// knows bare names only.
    async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        let _ = (tenant, user, room);
        Err(bare_names_only())
    }

    /// Returns the rooms of one tenant's user: joined with the tenant or by the bare name, and
    /// those that the user's connections of this node entered, sorted by name.
    ///
    /// # Errors
    /// Those of [`RoomMembership::user_rooms`]; [`Error::Unsupported`] where an implementation
    /// knows bare names only.
    async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        let _ = (tenant, user);
        Err(bare_names_only())
    }
}

/// Adds the operations of bidirectional transports: questions that each matched connection answers,
/// and rooms.
#[async_trait]
pub trait SocketIoBroadcast: RealtimeBroadcast + RoomMembership {
    /// Asks every connection of a user, in any tenant; the answers arrive as a stream, for
    /// this duration at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks>;

    /// Asks every member of a room; the answers arrive as a stream, for this duration at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks>;

    /// Asks every connection of a target, of one tenant's user for instance; the answers arrive as
    /// a stream, for this duration at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`]; [`Error::Unsupported`] where an implementation knows
    /// users and rooms only.
    async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        match target.scope() {
            Scope::User { name, .. } if target == Target::user(Arc::clone(name)) => {
                self.to_user_with_ack(name, event, timeout).await
            }
            Scope::Room { name, .. } if target == Target::room(Arc::clone(name)) => {
                self.to_room_with_ack(name, event, timeout).await
            }
            _ => Err(Error::Unsupported { provider: Some(CUSTOM.to_owned()), what: "asks for this kind of target" }),
        }
    }
}

/// The provider's name in errors of a trait's own method, which does not know the real one.
const CUSTOM: &str = "custom";

fn bare_names_only() -> Error {
    Error::Unsupported { provider: Some(CUSTOM.to_owned()), what: "rooms within a tenant" }
}
