use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership};
use crate::traits::outgoing::{Outgoing, Sends};
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::connection_data::ConnectionData;
use crate::values::error::Result;
use crate::values::identity::Identity;
use crate::values::name::check_name;
use crate::values::receipt::Receipt;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::Refusal;
use crate::values::states::States;
use crate::values::target::Target;

/// The context of a handler, a hook or a policy: the connection, the application's data about it,
/// and the means to send. Cheap to clone.
///
/// A stored clone does not keep the provider alive: when the provider is shut down or dropped,
/// sends fail with [`crate::Error::Closed`].
#[derive(Clone)]
pub struct Context(Arc<Inner>);

/// The operations of a context on its own connection and on the log.
pub(crate) trait Control: Sends {
    fn enter(&self, room: &str) -> bool;
    fn subscribe<'a>(&'a self, cx: &'a Context, room: &'a str) -> BoxFuture<'a, Result<bool, Refusal>>;
    fn leave(&self, room: &str) -> bool;
    fn is_in(&self, room: &str) -> bool;
    fn rooms(&self) -> Option<Arc<dyn RoomMembership>>;
    fn close(&self, reason: CloseReason);
    fn refresh<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Refreshed, Refusal>>;
}

#[derive(Clone)]
struct Inner {
    connection: ConnectionInfo,
    data: ConnectionData,
    states: States,
    broadcast: Arc<dyn RealtimeBroadcast>,
    control: Arc<dyn Control>,
}

impl Context {
    pub(crate) fn new(
        connection: ConnectionInfo,
        data: ConnectionData,
        states: States,
        (broadcast, control): (Arc<dyn RealtimeBroadcast>, Arc<dyn Control>),
    ) -> Self {
        Self(Arc::new(Inner { connection, data, states, broadcast, control }))
    }

    /// Sets a state, which replaces an earlier one of its type: for tests, where no service
    /// provides it.
    #[must_use]
    pub fn with_state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.states = std::mem::take(&mut inner.states).with(state);
        self
    }

    /// Returns the state of this type that the service was given, by `state(…)` of its builder.
    ///
    /// # Errors
    /// [`crate::Error::NoState`] when there is none: an error instead of a panic, so that a handler
    /// can use `?`. The client then gets no more than "internal error", and the log names the
    /// missing type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.0.states.get()
    }

    /// Returns the application's data about this connection: the same for all calls for this
    /// connection, from the policy for the rooms that the client names when it connects to the last
    /// hook.
    #[must_use]
    pub fn data(&self) -> &ConnectionData {
        &self.0.data
    }

    /// Returns the metadata of the connection.
    #[must_use]
    pub fn connection(&self) -> &ConnectionInfo {
        &self.0.connection
    }

    /// Returns the id of the connection.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.0.connection.id
    }

    /// Returns the identity behind the connection.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.connection.identity
    }

    /// Returns the name of the connection's provider.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.0.connection.provider
    }

    /// Returns the sending side of that provider, which reaches only the clients that are connected
    /// with it.
    #[must_use]
    pub fn broadcast(&self) -> &Arc<dyn RealtimeBroadcast> {
        &self.0.broadcast
    }

    /// Sends an event to this connection only.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    pub fn reply<T: Serialize + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'static {
        self.outgoing(Target::connection(self.0.connection.id)).send(event, data)
    }

    /// Starts a send to every connection of a user, in any tenant.
    pub fn to_user(&self, user: &str) -> Outgoing {
        self.outgoing(Target::user(user))
    }

    /// Starts a send to every connection of a user in this tenant.
    pub fn to_user_in(&self, tenant: &str, user: &str) -> Outgoing {
        self.outgoing(Target::user_in(tenant, user))
    }

    /// Starts a send to every connection of a tenant.
    pub fn to_tenant(&self, tenant: &str) -> Outgoing {
        self.outgoing(Target::tenant(tenant))
    }

    /// Starts a send to the members of a room.
    pub fn to_room(&self, room: &str) -> Outgoing {
        self.outgoing(Target::room(room))
    }

    /// Starts a send to the members of a room that this connection is in; otherwise the send fails
    /// with [`crate::Error::NotInRoom`], which answers the client `not_in_room`.
    pub fn to_room_as_member(&self, room: &str) -> Outgoing {
        let outgoing = self.to_room(room);
        if self.is_in_room(room) { outgoing } else { outgoing.with_missing_room(room) }
    }

    /// Starts a send to the members of a room that belong to this tenant.
    pub fn to_room_in(&self, tenant: &str, room: &str) -> Outgoing {
        self.outgoing(Target::room_in(tenant, room))
    }

    /// Starts a send to everyone.
    pub fn to_all(&self) -> Outgoing {
        self.outgoing(Target::all())
    }

    /// Starts a send to any target.
    pub fn to(&self, target: Target) -> Outgoing {
        self.outgoing(target)
    }

    /// Adds this connection to a room from the current position on, without asking the policy;
    /// returns `false` if the connection is in the room already, is closed, or is not registered
    /// yet.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn enter_room(&self, room: &str) -> Result<bool> {
        check_name("room", room)?;
        Ok(self.0.control.enter(room))
    }

    /// Adds this connection to a room that its client named, if the policy allows; returns `false`
    /// as [`Context::enter_room`] does. Not for use in a policy, which would ask itself.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`crate::RefusalKind::Room`] or [`crate::RefusalKind::BadRequest`].
    pub async fn subscribe(&self, room: &str) -> Result<bool, Refusal> {
        self.0.control.subscribe(self, room).await
    }

    /// Removes this connection from a room it entered; returns `false` if it had not.
    #[allow(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn leave_room(&self, room: &str) -> bool {
        self.0.control.leave(room)
    }

    /// Returns whether this connection is in a room, by entering it or as its user's membership.
    #[must_use]
    pub fn is_in_room(&self, room: &str) -> bool {
        self.0.control.is_in(room)
    }

    /// Returns the memberships, to join this connection's user or others to rooms; `None` for a
    /// detached context.
    #[must_use]
    pub fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        self.0.control.rooms()
    }

    /// Asks the authenticator about this connection with another token, in the place where the
    /// client presented the first one, and replaces expiry, claims and token id. The connection's
    /// next handlers see the new identity; rooms and position stay.
    ///
    /// The event `refresh` does this, unless the application has a handler of that name.
    ///
    /// # Errors
    /// A [`Refusal`], with which the connection stays as it was: the authenticator's;
    /// [`crate::RefusalKind::IdentityChanged`] for the token of another user or tenant,
    /// [`crate::RefusalKind::BadRequest`] for a connection whose credentials do not end.
    pub async fn refresh(&self, token: &str) -> Result<Refreshed, Refusal> {
        self.0.control.refresh(token).await
    }

    /// Closes this connection.
    pub fn close(&self, reason: CloseReason) {
        self.0.control.close(reason);
    }

    fn outgoing(&self, target: Target) -> Outgoing {
        Outgoing::new(self.0.connection.id, Arc::clone(&self.0.control) as _, target)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("connection", &self.0.connection).finish_non_exhaustive()
    }
}
