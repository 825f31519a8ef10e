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
use crate::values::refusal::Refusal;
use crate::values::states::States;
use crate::values::target::Target;

/// What a handler, a hook or a policy knows: which connection it is called for, what the application keeps about it, and how
/// to send. Cheap to clone.
///
/// A clone that is kept does not keep the provider: when that is shut down or dropped, sends fail with
/// [`crate::Error::Closed`].
#[derive(Clone)]
pub struct Context(Arc<Inner>);

/// What a handler can do with what is around it: its own connection, and the log.
pub(crate) trait Control: Sends {
    fn enter(&self, room: &str) -> bool;
    fn subscribe<'a>(&'a self, cx: &'a Context, room: &'a str) -> BoxFuture<'a, Result<bool, Refusal>>;
    fn leave(&self, room: &str) -> bool;
    fn is_in(&self, room: &str) -> bool;
    fn rooms(&self) -> Option<Arc<dyn RoomMembership>>;
    fn close(&self, reason: CloseReason);
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

    /// The same context with this state, in the place of an earlier one of its type: for tests, where no service gives it.
    #[must_use]
    pub fn with_state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.states = std::mem::take(&mut inner.states).with(state);
        self
    }

    /// The state of this type that the service was given, by `state(…)` of its builder.
    ///
    /// # Errors
    /// [`crate::Error::NoState`] when it was given none: an error and no panic, so that a handler can end with `?`. Its client is
    /// then told no more than "internal error", and the log which type is missing.
    pub fn state<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.0.states.get()
    }

    /// What the application keeps about this connection: the same for all that is called for it, from the policy for the rooms
    /// that its client names at first to the last hook.
    pub fn data(&self) -> &ConnectionData {
        &self.0.data
    }

    /// What is known of the connection.
    pub fn connection(&self) -> &ConnectionInfo {
        &self.0.connection
    }

    /// The connection it is called for.
    pub fn connection_id(&self) -> ConnectionId {
        self.0.connection.id
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.0.connection.identity
    }

    /// The provider of the connection.
    pub fn provider(&self) -> &'static str {
        self.0.connection.provider
    }

    /// The sending side of that provider, which reaches those who are connected with that one alone.
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

    /// To every connection of a user, whatever the tenant.
    pub fn to_user(&self, user: &str) -> Outgoing {
        self.outgoing(Target::user(user))
    }

    /// To every connection of a user in this tenant.
    pub fn to_user_in(&self, tenant: &str, user: &str) -> Outgoing {
        self.outgoing(Target::user_in(tenant, user))
    }

    /// To every connection of a tenant.
    pub fn to_tenant(&self, tenant: &str) -> Outgoing {
        self.outgoing(Target::tenant(tenant))
    }

    /// To the members of a room.
    pub fn to_room(&self, room: &str) -> Outgoing {
        self.outgoing(Target::room(room))
    }

    /// To the members of a room who belong to this tenant.
    pub fn to_room_in(&self, tenant: &str, room: &str) -> Outgoing {
        self.outgoing(Target::room_in(tenant, room))
    }

    /// To everyone.
    pub fn to_all(&self) -> Outgoing {
        self.outgoing(Target::all())
    }

    /// To any target.
    pub fn to(&self, target: Target) -> Outgoing {
        self.outgoing(target)
    }

    /// Puts this connection into a room as of now, without asking the policy; `false` if it was in already, has gone, or has
    /// still to come.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn enter_room(&self, room: &str) -> Result<bool> {
        check_name("room", room)?;
        Ok(self.0.control.enter(room))
    }

    /// Puts this connection into a room that its client named, if the policy allows; `false` as with [`Context::enter_room`].
    /// Not for a policy, which would ask itself.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`crate::RefusalKind::Room`] or [`crate::RefusalKind::BadRequest`].
    pub async fn subscribe(&self, room: &str) -> Result<bool, Refusal> {
        self.0.control.subscribe(self, room).await
    }

    /// Takes this connection out of a room it entered; `false` if it had not.
    pub fn leave_room(&self, room: &str) -> bool {
        self.0.control.leave(room)
    }

    /// Whether this connection is in a room, by whichever way.
    pub fn is_in_room(&self, room: &str) -> bool {
        self.0.control.is_in(room)
    }

    /// The rooms of users, to join this connection's user or others; `None` for a detached context.
    pub fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        self.0.control.rooms()
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
