use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::traits::provider::{RealtimeBroadcast, RoomMembership};
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::error::Result;
use crate::values::event::{Event, Payload};
use crate::values::identity::Identity;
use crate::values::receipt::Receipt;
use crate::values::refusal::Refusal;
use crate::values::target::Target;

/// What a handler knows: which connection an event came from, and how to send.
///
/// A clone that is kept does not keep the provider: when that is shut down or dropped, sends fail with
/// [`crate::Error::Closed`].
#[derive(Clone)]
pub struct Context {
    connection: Arc<ConnectionInfo>,
    broadcast: Arc<dyn RealtimeBroadcast>,
    control: Option<Arc<dyn Control>>,
}

/// What a handler can do with what is around it: its own connection, and the log.
pub(crate) trait Control: Send + Sync {
    /// Sends over all providers, or over one.
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>>;
    fn enter(&self, room: &str) -> Result<bool>;
    fn subscribe(&self, room: String) -> BoxFuture<'_, Result<bool, Refusal>>;
    fn leave(&self, room: &str) -> bool;
    fn is_in(&self, room: &str) -> bool;
    fn rooms(&self) -> Arc<dyn RoomMembership>;
    fn close(&self, reason: CloseReason);
}

impl Context {
    /// A context without a live connection, for tests of handlers: sends go to `broadcast`, whatever they are to go over,
    /// [`Context::reply`] as a send to [`Target::connection`].
    pub fn detached(connection: ConnectionInfo, broadcast: Arc<dyn RealtimeBroadcast>) -> Self {
        Self { connection: Arc::new(connection), broadcast, control: None }
    }

    pub(crate) fn new(
        connection: Arc<ConnectionInfo>,
        broadcast: Arc<dyn RealtimeBroadcast>,
        control: Arc<dyn Control>,
    ) -> Self {
        Self { connection, broadcast, control: Some(control) }
    }

    /// The connection the event came from.
    pub fn connection_id(&self) -> ConnectionId {
        self.connection.id
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.connection.identity
    }

    /// The provider it came through.
    pub fn provider(&self) -> &'static str {
        self.connection.provider
    }

    /// The sending side of the provider it came through, which reaches those who are connected with that one alone.
    pub fn broadcast(&self) -> &Arc<dyn RealtimeBroadcast> {
        &self.broadcast
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
        self.outgoing(Target::connection(self.connection.id)).send(event, data)
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

    /// Puts this connection into a room as of now, without asking the policy; `false` if it was in already.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn enter_room(&self, room: &str) -> Result<bool> {
        crate::values::name::check_name("room", room)?;
        self.control.as_ref().map_or(Ok(true), |control| control.enter(room))
    }

    /// Puts this connection into a room that its client named, if the policy allows; `false` if it was in already.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`crate::RefusalKind::Room`] or [`crate::RefusalKind::BadRequest`].
    pub async fn subscribe(&self, room: &str) -> Result<bool, Refusal> {
        let Some(control) = &self.control else { return Ok(true) };
        control.subscribe(room.to_owned()).await
    }

    /// Takes this connection out of a room it entered; `false` if it had not.
    pub fn leave_room(&self, room: &str) -> bool {
        self.control.as_ref().is_none_or(|control| control.leave(room))
    }

    /// Whether this connection is in a room, by whichever way; false for a detached context.
    pub fn is_in_room(&self, room: &str) -> bool {
        self.control.as_ref().is_some_and(|control| control.is_in(room))
    }

    /// The rooms of users, to join this connection's user or others; `None` for a detached context.
    pub fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        self.control.as_ref().map(|control| control.rooms())
    }

    /// Closes this connection.
    pub fn close(&self, reason: CloseReason) {
        if let Some(control) = &self.control {
            control.close(reason);
        }
    }

    fn outgoing(&self, target: Target) -> Outgoing {
        Outgoing {
            own: self.connection.id,
            broadcast: Arc::clone(&self.broadcast),
            control: self.control.clone(),
            over: None,
            target,
            volatile: false,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// A send that a handler is putting together. It goes over all providers of the service that can carry it, to people over
/// whatever they are connected with, unless [`Outgoing::over`] names one.
#[must_use = "nothing is sent before send()"]
pub struct Outgoing {
    own: ConnectionId,
    /// Where it goes without a live connection.
    broadcast: Arc<dyn RealtimeBroadcast>,
    control: Option<Arc<dyn Control>>,
    over: Option<String>,
    target: Target,
    volatile: bool,
}

impl Outgoing {
    /// Not to the connection the handled event came from.
    pub fn except_self(mut self) -> Self {
        self.target = self.target.except_connection(self.own);
        self
    }

    /// Not to any connection of this user, whatever the tenant.
    pub fn except_user(mut self, user: &str) -> Self {
        self.target = self.target.except_user(user);
        self
    }

    /// Not to any connection of this user in this tenant.
    pub fn except_user_in(mut self, tenant: &str, user: &str) -> Self {
        self.target = self.target.except_user_in(tenant, user);
        self
    }

    /// Over this provider alone.
    pub fn over(mut self, provider: &str) -> Self {
        self.over = Some(provider.to_owned());
        self
    }

    /// As a volatile event.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sends a value as JSON.
    ///
    /// # Errors
    /// Those of [`Event::json`] and [`RealtimeBroadcast::send`].
    pub fn send<T: Serialize + ?Sized>(
        self,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'static {
        // Serialised before the future exists, so that the value need not be `Send` or live as long.
        let event = Event::json(event, data);
        async move { self.send_event(event?).await }
    }

    /// Sends a payload as it is.
    ///
    /// # Errors
    /// Those of [`Event`]'s constructors and [`RealtimeBroadcast::send`].
    pub async fn send_payload(self, event: &str, payload: Payload) -> Result<Receipt> {
        let event = Event::with_checked_payload(event, payload)?;
        self.send_event(event).await
    }

    /// Sends an event.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    pub async fn send_event(self, event: Event) -> Result<Receipt> {
        let event = if self.volatile { event.volatile() } else { event };
        match &self.control {
            Some(control) => control.send(self.over, self.target, event).await,
            None => self.broadcast.send(self.target, event).await,
        }
    }
}
