use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::values::connection::ConnectionId;
use crate::values::error::{Error, Result};
use crate::values::event::{Event, Payload};
use crate::values::receipt::Receipt;
use crate::values::target::Target;

/// Sends events for handlers, hooks and policies, over all providers of a service.
pub trait Sends: Send + Sync {
    /// Sends an event over all providers, or over one.
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>>;
}

/// A send that a handler is building. It goes over all providers of the service that can carry it,
/// so that users are reached over any provider they are connected with, unless [`Outgoing::over`]
/// names one.
#[must_use = "nothing is sent before send()"]
pub struct Outgoing {
    own: ConnectionId,
    sends: Arc<dyn Sends>,
    over: Option<String>,
    target: Target,
    volatile: bool,
    /// The room that the connection would have to be in, and is not.
    missing_room: Option<String>,
}

impl Outgoing {
    pub(crate) fn new(own: ConnectionId, sends: Arc<dyn Sends>, target: Target) -> Self {
        Self { own, sends, over: None, target, volatile: false, missing_room: None }
    }

    /// Makes the send fail, because the connection is not in this room.
    pub(crate) fn with_missing_room(mut self, room: &str) -> Self {
        self.missing_room = Some(room.to_owned());
        self
    }

    /// Excludes the connection that the handled event came from.
    pub fn except_self(mut self) -> Self {
        self.target = self.target.except_connection(self.own);
        self
    }

    /// Excludes every connection of this user, in any tenant.
    pub fn except_user(mut self, user: &str) -> Self {
        self.target = self.target.except_user(user);
        self
    }

    /// Excludes every connection of this user in this tenant.
    pub fn except_user_in(mut self, tenant: &str, user: &str) -> Self {
        self.target = self.target.except_user_in(tenant, user);
        self
    }

    /// Restricts the send to this provider.
    pub fn over(mut self, provider: &str) -> Self {
        self.over = Some(provider.to_owned());
        self
    }

    /// Makes the event volatile.
    pub fn as_volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sends a value as JSON.
    ///
    /// # Errors
    /// Those of [`Event::json`] and [`Outgoing::send_event`].
    pub fn send<T: Serialize + ?Sized>(
        self,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'static {
        // Serialise before the future exists, so that the value need not be `Send` or live as long.
        let event = Event::json(event, data);
        async move { self.send_event(event?).await }
    }

    /// Sends a payload as it is.
    ///
    /// # Errors
    /// Those of [`Event`]'s constructors and [`Outgoing::send_event`].
    pub async fn send_payload(self, event: &str, payload: Payload) -> Result<Receipt> {
        let event = Event::from_payload(event, payload)?;
        self.send_event(event).await
    }

    /// Sends an event.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`](crate::RealtimeBroadcast::send); [`Error::NotInRoom`]
    /// after [`Context::to_room_as_member`](crate::Context::to_room_as_member).
    pub async fn send_event(self, event: Event) -> Result<Receipt> {
        if let Some(room) = self.missing_room {
            return Err(Error::NotInRoom { room });
        }
        let event = if self.volatile { event.as_volatile() } else { event };
        self.sends.send(self.over, self.target, event).await
    }
}
