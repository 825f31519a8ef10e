//! A provider of a process that only publishes: it has no connections, and reads no log.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::Instrument;

use crate::delivery::room_membership::room_membership;
use crate::log::backplane::LogState;
use crate::log::feed::{Beginning, Feed, Marked, Placed, Wakes};
use crate::log::handle::Log;
use crate::log::life::ConnectionLife;
use crate::log::presence::Presence;
use crate::log::record::{Body, Providers};
use crate::log::refresh::RefreshOutcome;
use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership, SocketIoBroadcast};
use crate::traits::provider::RealtimeProvider;
use crate::traits::runtime::Runtime;
use crate::values::ack::{Acks, Ask};
use crate::values::capabilities::Capabilities;
use crate::values::close::CloseReason;
use crate::values::config::DeliveryConfig;
use crate::values::connection::ConnectionId;
use crate::values::cursor::Mark;
use crate::values::drain::Drain;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::stats::Stats;
use crate::values::target::{Scope, Target};
use crate::values::token::Token;

/// A provider without connections, by whose name a process that only publishes reaches the
/// connections of other nodes: sends, asks, joins and closes are those of the provider with that
/// name at the other nodes.
///
/// Its receipts have no counts, since this node delivers nothing.
pub struct Publisher(Arc<Shared>);

struct Shared {
    name: &'static str,
    capabilities: Capabilities,
    delivery: DeliveryConfig,
    /// Set once, when the provider is attached.
    runtime: OnceLock<Runtime>,
}

impl Publisher {
    /// Creates the publisher for the provider of this name with these capabilities.
    #[must_use]
    pub fn new(name: &'static str, capabilities: Capabilities) -> Self {
        let delivery = DeliveryConfig::default();
        Self(Arc::new(Shared { name, capabilities, delivery, runtime: OnceLock::new() }))
    }
}

impl Shared {
    fn log(&self) -> Result<&Log> {
        let runtime = self.runtime.get();
        Ok(&runtime.ok_or_else(|| Error::NotAttached { provider: Some(self.name.to_owned()) })?.log)
    }

    fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { provider: Some(self.name.to_owned()), what }
    }

    fn check(&self, target: &Target, event: &Event) -> Result<()> {
        event.check()?;
        target.check()?;
        let is_unlogged = event.is_volatile() || matches!(target.scope(), Scope::Connection(_));
        if is_unlogged && (event.idempotency_key().is_some() || event.latest_key().is_some()) {
            return Err(self.unsupported("keys of events that are not in the log"));
        }
        if event.payload().is_binary() && !self.capabilities.binary {
            return Err(self.unsupported("binary events"));
        }
        let of_service = self.runtime.get().map_or(usize::MAX, |runtime| runtime.max_event_bytes);
        let (size, limit) = (event.payload().size(), self.delivery.max_event_bytes.min(of_service));
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
    }
}

#[async_trait]
impl RealtimeProvider for Publisher {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    async fn attach(&self, runtime: Runtime) -> Result<()> {
        let log = runtime.log.clone();
        if self.0.runtime.set(runtime).is_err() {
            return Err(Error::Config(format!("the provider \"{}\" is already attached", self.0.name)));
        }
        let feed: Arc<dyn Feed> = Arc::clone(&self.0) as _;
        log.join_to_publish(&feed);
        Ok(())
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(Handle(Arc::clone(&self.0)))
    }

    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        Some(Arc::new(Handle(Arc::clone(&self.0))))
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Handle(Arc::clone(&self.0))))
    }

    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        target.check()?;
        self.0.log()?.close_on_nodes(Providers::one(self.0.name), target, reason).await
    }

    async fn shutdown(&self, _: Drain) {}

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// The handle that sends for a publisher.
struct Handle(Arc<Shared>);

#[async_trait]
impl RealtimeBroadcast for Handle {
    async fn send(&self, target: Target, mut event: Event) -> Result<Receipt> {
        let (log, id) = (self.0.log()?, EventId::random());
        if matches!(target.scope(), Scope::Connection(_)) {
            self.0.check(&target, &event)?;
            let providers = Providers::one(self.0.name);
            let span = log.publish_span(id, &target, &mut event);
            log.publish(providers, id, Body::Event { target, event, widen: true }).instrument(span).await?;
            return Ok(Receipt::new(id, None, None));
        }
        log.send(Some(&[self.0.name]), target, event).await
    }
}

room_membership!(impl for Handle);

impl Handle {
    fn open_log(&self) -> Result<&Log> {
        self.0.log()
    }

    fn rooms_of(&self, member: &Member) -> Result<Vec<String>> {
        self.0.log()?.user_rooms(&member.user, member.tenant.as_deref())
    }
}

#[async_trait]
impl SocketIoBroadcast for Handle {
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks> {
        self.ask(Target::user(user), event, timeout).await
    }

    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks> {
        self.ask(Target::room(room), event, timeout).await
    }

    async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        self.0.log()?.ask(Some(&[self.0.name]), target, event, timeout).await
    }
}

/// Nothing is applied here, since the log is not read.
impl Feed for Shared {
    fn provider(&self) -> &'static str {
        self.name
    }

    fn tick_interval(&self) -> Duration {
        Duration::MAX
    }

    fn repeat_window(&self) -> Duration {
        self.delivery.window.age
    }

    fn applied(&self) -> Position {
        Position::START
    }

    fn start_in(&self, state: &LogState) -> Position {
        state.last
    }

    fn reset(&self, _: &LogState, _: &Beginning) {}

    fn jump(&self, _: Position) {}

    fn apply(&self, placed: &Placed<'_>, _: &mut Wakes) -> Receipt {
        Receipt::new(placed.record.id, Some(placed.position), None)
    }

    fn pass(&self, _: Position, _: Mark, _: Instant) {}

    fn count_skipped(&self) {}

    fn cancel_ask(&self, _: Position, _: &Arc<Ask>) {}

    fn tick(&self) {}

    fn set_ready(&self, _: bool) {}

    fn is_ready(&self) -> bool {
        true
    }

    fn drain_outdated(&self) {}

    fn disconnect_all(&self) {}

    fn cancel_asks(&self) {}

    fn carries(&self, _: &Event, _: bool) -> bool {
        false
    }

    fn check(&self, target: &Target, event: &Event) -> Result<()> {
        Self::check(self, target, event)
    }

    fn check_ask(&self, target: &Target, event: &Event) -> Result<()> {
        if !self.capabilities.acks {
            return Err(self.unsupported(crate::log::ask::ACKS));
        }
        if event.is_volatile() || event.idempotency_key().is_some() || event.latest_key().is_some() {
            return Err(self.unsupported("volatile asks, and keys of asks"));
        }
        Self::check(self, target, event)
    }

    fn deliver_volatile(&self, _: &Target, _: &Event, _: bool) -> Delivered {
        Delivered::default()
    }

    fn presence(&self, _: ConnectionId) -> Option<Presence> {
        None
    }

    fn presences(&self) -> Vec<Presence> {
        Vec::new()
    }

    fn probe(&self, _: &Member) {}

    fn members(&self, _: &str, _: Bound<&Member>, _: usize) -> Vec<Member> {
        Vec::new()
    }

    fn is_joined(&self, _: &Member, _: &str) -> bool {
        false
    }

    fn user_rooms(&self, _: &Member) -> Vec<String> {
        Vec::new()
    }

    fn close(&self, _: &Target, _: &CloseReason) -> usize {
        0
    }

    fn revoke(&self, _: &str) -> usize {
        0
    }

    fn marked(&self, _: Mark) -> Marked {
        Marked::default()
    }

    fn lives(&self, _: &Member, _: Option<&str>) -> Vec<ConnectionLife> {
        Vec::new()
    }

    fn was_joined(&self, _: &Member, _: &str, _: Position) -> Option<bool> {
        None
    }

    fn awaits(&self, _: Position, _: ConnectionId) -> bool {
        false
    }

    fn widens(&self) -> bool {
        false
    }

    fn refresh(&self, _: ConnectionId, _: Token) -> Option<BoxFuture<'static, RefreshOutcome>> {
        None
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("name", &self.0.name).finish_non_exhaustive()
    }
}
