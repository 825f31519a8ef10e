//! The context that handlers, hooks and policies are called with.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership};
use crate::traits::codec::Codec;
use crate::traits::context::{Context, Control};
use crate::traits::outgoing::Sends;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionInfo;
use crate::values::connection_data::ConnectionData;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::name::shorten;
use crate::values::receipt::Receipt;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::Refusal;
use crate::values::target::{Scope, Target};

/// The most stays of one connection in rooms that its client named, or ten for each room that it
/// may be in if that is more: past stays count for as long as the window reaches back.
const MAX_STAYS: usize = 1_000;

impl<C: Codec> Dispatcher<C> {
    /// Returns the context of a connection.
    pub(super) fn context(&self, connection: &Arc<Connection<C::Frame>>) -> Context {
        let data = connection.data.get_or_init(ConnectionData::default).clone();
        self.context_with(connection.current_info(), data, Some(Arc::clone(connection)))
    }

    /// Returns the context of a connection that is not registered yet.
    pub(super) fn context_before(&self, info: ConnectionInfo, data: ConnectionData) -> Context {
        self.context_with(info, data, None)
    }

    fn context_with(
        &self,
        info: ConnectionInfo,
        data: ConnectionData,
        connection: Option<Arc<Connection<C::Frame>>>,
    ) -> Context {
        let dispatcher = self.unowned();
        let states = self.runtime.get().map(|runtime| runtime.states.clone()).unwrap_or_default();
        let broadcast = Arc::new(Arc::clone(&dispatcher)) as Arc<dyn RealtimeBroadcast>;
        Context::new(info, data, states, (broadcast, Arc::new(Own { dispatcher, connection })))
    }
}

/// The control of one connection, and its access to the log.
struct Own<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    /// `None` before the registration: the connection is in no room then, and nothing can be done
    /// to it.
    connection: Option<Arc<Connection<C::Frame>>>,
}

impl<C: Codec> Own<C> {
    /// Checks that the connection may enter one more room.
    fn check_rooms(&self, connection: &Connection<C::Frame>, room: &str) -> Result<(), Refusal> {
        let most = self.dispatcher.config.delivery.limits.rooms_per_connection;
        let stays = self.dispatcher.hub.stays(connection.info.id, room);
        if stays.is_in || (stays.now < most && stays.kept < MAX_STAYS.max(10 * most)) {
            return Ok(());
        }
        let what = if stays.now < most { "too many changes of rooms within a short time" } else { "too many rooms" };
        Err(Refusal::bad_request(what).with_setting("limits.rooms_per_connection"))
    }
}

impl<C: Codec> Sends for Own<C> {
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>> {
        let dispatcher = Arc::clone(&self.dispatcher);
        Box::pin(async move {
            let own = dispatcher.config.provider;
            if dispatcher.is_closing() {
                return Err(Error::Closed { provider: Some(own.to_owned()) });
            }
            // A connection belongs to one provider, most often the handler's own.
            if matches!(target.scope(), Scope::Connection(_)) {
                return dispatcher.send(target, event).await;
            }
            let runtime = dispatcher.runtime()?;
            if let Some(sends) = &runtime.sends {
                return sends.send(over, target, event).await;
            }
            let over = over.as_deref().map(|name| [name]);
            runtime.log.send(over.as_ref().map(|names| &names[..]), target, event).await
        })
    }
}

impl<C: Codec> Control for Own<C> {
    fn enter(&self, room: &str) -> bool {
        self.connection.as_ref().is_some_and(|connection| self.dispatcher.enter_room(connection.info.id, room))
    }

    fn subscribe<'a>(&'a self, cx: &'a Context, room: &'a str) -> BoxFuture<'a, Result<bool, Refusal>> {
        async move {
            let Some(connection) = &self.connection else { return Ok(false) };
            let allowed = self.dispatcher.may_enter(cx, room).await;
            allowed
                .and_then(|_| self.check_rooms(connection, room))
                .inspect_err(|refusal| log_refusal(&connection.info, room, refusal))?;
            Ok(self.dispatcher.enter_room(connection.info.id, room))
        }
        .boxed()
    }

    fn leave(&self, room: &str) -> bool {
        self.connection.as_ref().is_some_and(|connection| self.dispatcher.exit_room(connection.info.id, room))
    }

    fn is_in(&self, room: &str) -> bool {
        self.connection.as_ref().is_some_and(|connection| self.dispatcher.hub.is_in(connection.info.id, room))
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Arc::clone(&self.dispatcher)))
    }

    fn close(&self, reason: CloseReason) {
        if let Some(connection) = &self.connection {
            self.dispatcher.end(connection, &reason);
        }
    }

    fn refresh<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Refreshed, Refusal>> {
        async move {
            match &self.connection {
                Some(connection) => self.dispatcher.refresh_here(connection, token).await,
                None => Err(Refusal::bad_request("there is no connection yet")),
            }
        }
        .boxed()
    }
}

fn log_refusal(info: &ConnectionInfo, room: &str, refusal: &Refusal) {
    tracing::info!(
        provider = info.provider,
        connection = %info.id,
        address = info.address.map(tracing::field::display),
        user = info.identity.user_name(),
        tenant = info.identity.tenant_name(),
        room = ?shorten(room),
        reason = refusal.code(),
        setting = refusal.setting(),
        detail = ?refusal.message(),
        hint = refusal.hint(),
        "room refused"
    );
}
