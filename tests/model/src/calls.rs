//! The application's calls, as futures that can be polled side by side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use realtime_core::spi::Log;
use realtime_core::{
    Acks, ConnectionId, Context, Error, Event, Payload, RealtimeBroadcast, Receipt, RoomMembership, SocketIoBroadcast,
    Target,
};
use serde_json::json;

use crate::log::Audience;
use crate::reference::receipts::Predicted;
use crate::schedule::{By, Id, Kind, Member, Providers, Scope};
use crate::server::{room_name, tenant_name, user_name};

/// A call under way.
pub(crate) type Pending = BoxFuture<'static, Result<Done, String>>;

/// The result of a call.
pub(crate) enum Done {
    Ask(u64, Acks),
    Rooms,
    /// A send; without a receipt the key is another event's.
    Send(Predicted, Option<Receipt>),
}

fn target(scope: Scope) -> Target {
    match scope {
        Scope::All => Target::all(),
        Scope::Room(room) => Target::room(room_name(room)),
        Scope::RoomIn(tenant, room) => Target::room_in(tenant_name(tenant), room_name(room)),
        Scope::Tenant(tenant) => Target::tenant(tenant_name(tenant)),
        Scope::User(user) => Target::user(user_name(user)),
        Scope::UserIn(tenant, user) => Target::user_in(tenant_name(tenant), user_name(user)),
    }
}

fn event(name: &'static str, number: u64, pad: usize) -> Result<Event, String> {
    let payload = Payload::json(&json!({ "n": number, "pad": "x".repeat(pad) })).map_err(|error| error.to_string())?;
    Event::from_payload(name, payload).map_err(|error| error.to_string())
}

/// An event to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub(crate) scope: Scope,
    /// The target, exceptions included, and the providers.
    pub(crate) audience: Audience,
    pub(crate) kind: Kind,
    pub(crate) pad: usize,
    pub(crate) by: By,
}

/// The sender of an event.
pub(crate) enum Sender {
    Handler(Context),
    Log(Log, Option<Providers>),
    Provider(Arc<dyn RealtimeBroadcast>),
}

impl Sender {
    async fn send(self, target: Target, event: Event) -> Result<Receipt, Error> {
        match self {
            Self::Handler(context) => context.to(target).send_event(event).await,
            Self::Log(log, None) => log.send(None, target, event).await,
            Self::Log(log, Some(providers)) => log.send(Some(&providers.names()), target, event).await,
            Self::Provider(broadcast) => broadcast.send(target, event).await,
        }
    }
}

pub(crate) fn send(sender: Sender, predicted: Predicted) -> Pending {
    let Sending { scope, audience, kind, pad, .. } = predicted.sending.clone();
    let mut target = target(scope);
    target = match audience.except_user {
        Some(Member { user, tenant: None }) => target.except_user(user_name(user)),
        Some(Member { user, tenant: Some(tenant) }) => target.except_user_in(tenant_name(tenant), user_name(user)),
        None => target,
    };
    if let Some(id) = audience.except_connection.and_then(|id| id.parse::<ConnectionId>().ok()) {
        target = target.except_connection(id);
    }
    Box::pin(async move {
        let event = event(kind.name(), predicted.number, pad)?;
        let event = match kind {
            Kind::Latest(key) => event.with_latest_key(format!("latest {key}")),
            Kind::Once(key) => event.with_idempotency_key(format!("once {key}")),
            Kind::Plain => event,
            Kind::Volatile => event.as_volatile(),
        };
        match sender.send(target, event).await {
            Ok(receipt) => Ok(Done::Send(predicted, Some(receipt))),
            Err(Error::KeyReused { .. }) => Ok(Done::Send(predicted, None)),
            Err(error) => Err(format!("a send failed: {error}")),
        }
    })
}

pub(crate) fn ask(asks: Arc<dyn SocketIoBroadcast>, scope: Scope, number: u64, timeout: Duration) -> Pending {
    Box::pin(async move {
        let event = event("q", number, 0)?;
        let acks = match scope {
            Scope::Room(room) => asks.to_room_with_ack(&room_name(room), event, timeout).await,
            Scope::User(user) => asks.to_user_with_ack(&user_name(user), event, timeout).await,
            scope => asks.ask(target(scope), event, timeout).await,
        };
        Ok(Done::Ask(number, acks.map_err(|error| format!("an ask failed: {error}"))?))
    })
}

/// Joins a user to a room, or removes it from there.
pub(crate) fn room(rooms: Arc<dyn RoomMembership>, member: Member, room: Id, enter: bool) -> Pending {
    Box::pin(async move {
        let (user, tenant, room) = (user_name(member.user), member.tenant.map(tenant_name), room_name(room));
        let changed = match (enter, tenant) {
            (true, None) => rooms.join_room(&user, &room).await,
            (true, Some(tenant)) => rooms.join_room_in(&tenant, &user, &room).await,
            (false, None) => rooms.leave_room(&user, &room).await,
            (false, Some(tenant)) => rooms.leave_room_in(&tenant, &user, &room).await,
        };
        let what = if enter { "join" } else { "leave" };
        changed.map(|()| Done::Rooms).map_err(|error| format!("a {what} failed: {error}"))
    })
}
