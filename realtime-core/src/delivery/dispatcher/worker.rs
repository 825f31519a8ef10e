//! The worker of one connection: its handlers, in order, away from its reading and its heartbeat.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::Instrument;

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::Connection;
use crate::inbound::context::{Context, Control};
use crate::inbound::inbox::{Inbox, Item};
use crate::traits::codec::{Codec, Frame};
use crate::traits::provider::{RealtimeBroadcast, RoomMembership};
use crate::values::close::CloseReason;
use crate::values::error::{Error, Result};
use crate::values::event::{Event, Payload};
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;
use crate::values::name::shorten;
use crate::values::receipt::Receipt;
use crate::values::refusal::Refusal;
use crate::values::stats::add;
use crate::values::target::{Scope, Target};

/// How many stays of one connection in rooms that its client named are kept, or ten for each room that it may be in: those
/// that are over count for as long as the window reaches back.
const MAX_STAYS: usize = 1_000;

impl<C: Codec> Dispatcher<C> {
    /// Starts the worker of a connection; it ends when the inbox is closed and empty.
    pub(crate) fn start_worker(self: &Arc<Self>, connection: &Arc<Connection<C::Frame>>) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new(connection.work()));
        let worker = Worker { dispatcher: Arc::clone(self), connection: Arc::clone(connection) };
        self.tasks.spawn(worker.run(Arc::clone(&inbox)).instrument(connection.span.clone()));
        inbox
    }
}

struct Worker<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    connection: Arc<Connection<C::Frame>>,
}

impl<C: Codec> Worker<C> {
    async fn run(self, inbox: Arc<Inbox>) {
        let info = Arc::new(self.connection.info.clone());
        let broadcast = Arc::new(Arc::clone(&self.dispatcher)) as Arc<dyn RealtimeBroadcast>;
        let control = Arc::new(OwnConnection {
            dispatcher: Arc::clone(&self.dispatcher),
            connection: Arc::clone(&self.connection),
        });
        let cx = Context::new(info, broadcast, control);
        while let Some(item) = inbox.pop().await {
            match item {
                Item::Event(inbound) => self.handle(&cx, inbound).await,
                Item::Rejected(error, ack) => self.reject(&error, ack).await,
            }
        }
        let counters = &self.dispatcher.counters;
        add(&counters.unhandled, inbox.take_dropped());
        inbox.finish(&counters.lingering);
    }

    async fn handle(&self, cx: &Context, inbound: Inbound) {
        let ack = inbound.ack;
        let name = Arc::clone(&inbound.name);
        let run = self.dispatcher.router.handle(cx.clone(), inbound);
        let handled = self.dispatcher.guard("handler", &name, run).await;
        let outcome = handled.unwrap_or_else(|| Err(HandlerError::new("internal", "internal error")));
        match (outcome, ack) {
            (Ok(reply), Some(ack)) => {
                let payload = reply.unwrap_or(Payload::Json(bytes::Bytes::from_static(b"null")));
                self.push(self.dispatcher.codec.ack(ack, &payload)).await;
            }
            (Ok(_), None) => {}
            (Err(error), ack) => {
                self.reject(&error, ack).await;
            }
        }
    }

    async fn reject(&self, error: &HandlerError, ack: Option<u64>) {
        self.dispatcher.count_rejected(error);
        self.push(self.dispatcher.codec.error(error, ack)).await;
    }

    /// Waits for room, so that a client that sends much and reads its answers slowly is read slowly. An empty frame is
    /// how a codec says nothing.
    async fn push(&self, frame: C::Frame) {
        if frame.size() > 0 {
            self.dispatcher.hub.push_side_in_turn(&self.connection, frame).await;
        }
    }
}

/// What a handler may do to the connection it runs for.
struct OwnConnection<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    connection: Arc<Connection<C::Frame>>,
}

impl<C: Codec> OwnConnection<C> {
    /// Whether there is room for one more room.
    fn check_rooms(&self, room: &str) -> Result<(), Refusal> {
        let most = self.dispatcher.config.limits.rooms_per_connection;
        let stays = self.dispatcher.hub.stays(self.connection.info.id, room);
        if stays.is_in || (stays.now < most && stays.kept < MAX_STAYS.max(10 * most)) {
            return Ok(());
        }
        let what = if stays.now < most { "too many changes of rooms within a short time" } else { "too many rooms" };
        Err(Refusal::bad_request(what).with_setting("limits.rooms_per_connection"))
    }

    fn log_refusal(&self, room: &str, refusal: &Refusal) {
        let info = &self.connection.info;
        tracing::info!(
            provider = info.provider,
            connection = %info.id,
            address = info.address.map(tracing::field::display),
            user = info.identity.user_name(),
            tenant = info.identity.tenant_name(),
            room = ?shorten(room),
            reason = refusal.kind().code(),
            setting = refusal.setting(),
            detail = ?refusal.message(),
            hint = refusal.hint(),
            "room refused"
        );
    }
}

impl<C: Codec> Control for OwnConnection<C> {
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>> {
        let dispatcher = Arc::clone(&self.dispatcher);
        Box::pin(async move {
            let own = dispatcher.config.provider;
            if dispatcher.is_closing() {
                return Err(Error::Closed { provider: own.to_owned() });
            }
            // A connection is one provider's; most often it is the handler's own.
            if matches!(target.scope(), Scope::Connection(_)) {
                return dispatcher.send(target, event).await;
            }
            let over = over.as_deref().map(|name| [name]);
            dispatcher.runtime()?.log.send(over.as_ref().map(|names| &names[..]), target, event).await
        })
    }

    fn enter(&self, room: &str) -> Result<bool> {
        crate::values::name::check_name("room", room)?;
        Ok(self.dispatcher.hub.enter(self.connection.info.id, &room.into()))
    }

    fn subscribe(&self, room: String) -> BoxFuture<'_, Result<bool, Refusal>> {
        Box::pin(async move {
            let id = self.connection.info.id;
            let allowed = self.dispatcher.may_enter(&self.connection.info.identity, &room).await;
            allowed.and_then(|_| self.check_rooms(&room)).inspect_err(|refusal| self.log_refusal(&room, refusal))?;
            Ok(self.dispatcher.hub.enter(id, &room.into()))
        })
    }

    fn leave(&self, room: &str) -> bool {
        self.dispatcher.hub.leave(self.connection.info.id, room)
    }

    fn is_in(&self, room: &str) -> bool {
        self.dispatcher.hub.is_in(self.connection.info.id, room)
    }

    fn rooms(&self) -> Arc<dyn RoomMembership> {
        Arc::new(Arc::clone(&self.dispatcher))
    }

    fn close(&self, reason: CloseReason) {
        self.connection.close(reason);
    }
}
