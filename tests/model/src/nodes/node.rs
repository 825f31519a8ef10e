//! One node: a dispatcher with connections of its own to the broker and the directory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use realtime_core::spi::{
    Admitted, Codec, Cursor, Dispatcher, DispatcherConfig, Epoch, Frame, Registration, Runtime, SessionOutlet,
};
use realtime_core::{
    Authenticator, Capabilities, ConnectRequest, ConnectionId, DeliveryConfig, Drain, Event, HandlerError, Identity,
    Limits, Payload, Refusal, Router, WindowConfig,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::nodes::broker::Broker;
use crate::nodes::directory::{DirectoryLink, Entries};
use crate::nodes::link::Link;
use crate::nodes::schedule::{Id, Setup, To, Who};
use crate::nodes::truth::Member;
use crate::server::{room_name, tenant_name, user_name};

/// A frame, which a client in the same process need not decode.
#[derive(Clone)]
pub(crate) struct NodeFrame(pub(crate) Arc<FrameContent>);

pub(crate) struct FrameContent {
    pub(crate) name: String,
    pub(crate) payload: Bytes,
    pub(crate) cursor: Option<Given>,
    pub(crate) ack: Option<u64>,
}

/// A cursor that a client was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) epoch: Epoch,
    pub(crate) position: u64,
    pub(crate) mark: u32,
}

impl Frame for NodeFrame {
    fn size(&self) -> usize {
        self.0.payload.len()
    }
}

pub(crate) struct NodeCodec;

impl Given {
    fn of(cursor: Cursor) -> Self {
        let text = cursor.to_string();
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap_or_default();
        let mark = bytes.get(17..21).and_then(|mark| mark.try_into().ok()).map_or(0, u32::from_be_bytes);
        Self { text, epoch: cursor.epoch(), position: cursor.position().get(), mark }
    }
}

fn frame(name: &str, payload: &Bytes, cursor: Option<Cursor>, ack: Option<u64>) -> NodeFrame {
    let (name, payload) = (name.to_owned(), payload.clone());
    NodeFrame(Arc::new(FrameContent { name, payload, cursor: cursor.map(Given::of), ack }))
}

impl Codec for NodeCodec {
    type Frame = NodeFrame;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> NodeFrame {
        frame(event.name(), event.payload().bytes(), cursor, None)
    }

    fn ask(&self, event: &Event, ack: u64) -> NodeFrame {
        frame("ask", event.payload().bytes(), None, Some(ack))
    }

    fn ack(&self, _: u64, _: &Payload) -> Option<NodeFrame> {
        None
    }

    fn error(&self, _: &HandlerError, _: Option<u64>) -> Option<NodeFrame> {
        None
    }

    fn cursor(&self, cursor: Cursor) -> NodeFrame {
        frame("cursor", &Bytes::new(), Some(cursor), None)
    }
}

/// One process at one place of the schedule.
pub(crate) struct Node {
    pub(crate) dispatcher: Arc<Dispatcher<NodeCodec>>,
    pub(crate) link: Link,
    pub(crate) directory: DirectoryLink,
    pub(crate) begun: Instant,
    /// The attach, until it is done.
    attaching: Option<JoinHandle<bool>>,
    /// When the process began to end.
    pub(crate) ended: Option<Instant>,
    /// `true` if it was killed.
    pub(crate) killed: bool,
}

impl Node {
    /// Starts a process.
    pub(crate) fn start(number: usize, setup: &Setup, broker: &Broker, entries: &Entries) -> Self {
        let (link, directory) = (Link::new(broker.clone(), number), DirectoryLink::new(entries.clone()));
        let window =
            WindowConfig::default().with_records(setup.window_records).with_age(Duration::from_secs(setup.age));
        let limits = Limits::default().with_connections_per_user(10_000);
        let delivery = DeliveryConfig::default().with_limits(limits).with_window(window);
        let capabilities = Capabilities::none().with_acks(true).with_bidirectional(true);
        let config = DispatcherConfig::new("core", capabilities.with_resume(true).with_rooms(true), delivery);
        let dispatcher = Dispatcher::new(config, NodeCodec, Router::new());
        let runtime = Runtime::in_memory()
            .with_authenticator(Believing)
            .with_backplane(link.clone())
            .with_directory(directory.clone());
        let attached = Arc::clone(&dispatcher);
        let attaching = tokio::spawn(async move { attached.attach(runtime).await.is_ok() });
        let (attaching, begun) = (Some(attaching), Instant::now());
        Self { dispatcher, link, directory, begun, attaching, ended: None, killed: false }
    }

    /// Returns whether it is attached and has not begun to end. A process whose attach has failed
    /// ends.
    pub(crate) async fn is_running(&mut self) -> bool {
        if let Some(attaching) = self.attaching.take_if(|attaching| attaching.is_finished())
            && !attaching.await.unwrap_or(false)
        {
            self.kill();
        }
        self.attaching.is_none() && self.ended.is_none()
    }

    /// Waits until it is attached, or ends.
    pub(crate) async fn attached(&mut self) {
        if let Some(attaching) = self.attaching.take()
            && !attaching.await.unwrap_or(false)
        {
            self.kill();
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    /// Returns whether it has run since this time, and nothing has failed for it.
    pub(crate) fn is_calm_since(&self, since: Instant) -> bool {
        self.is_alive()
            && self.attaching.is_none()
            && self.begun < since
            && self.link.is_calm_since(since)
            && self.directory.is_calm_since(since)
    }

    /// Shuts it down.
    pub(crate) fn stop(&mut self) {
        self.ended = Some(Instant::now());
        let dispatcher = Arc::clone(&self.dispatcher);
        tokio::spawn(async move { dispatcher.shutdown(Drain::now()).await });
    }

    /// Ends it without a word to anyone: nothing that its tasks still do gets out.
    pub(crate) fn kill(&mut self) {
        (self.ended, self.killed) = (Some(Instant::now()), true);
        self.link.set_up(false);
        self.directory.set_up(false);
        let dispatcher = Arc::clone(&self.dispatcher);
        tokio::spawn(async move { dispatcher.shutdown(Drain::now()).await });
    }

    /// Admits a client.
    pub(crate) async fn admit(&self, who: Who, cursor: Option<String>) -> Result<Admitted, Refusal> {
        let tenant = who.tenant.map(|tenant| format!("&tenant={}", tenant_name(tenant))).unwrap_or_default();
        let uri = format!("/?user={}{tenant}", user_name(who.user));
        let request = http::Request::get(uri).body(()).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let request = ConnectRequest::new("core", &request.into_parts().0);
        self.dispatcher.admit(&request, &[], cursor).await
    }

    pub(crate) fn register(&self, admitted: Admitted) -> (Registration<NodeCodec>, ConnectionId) {
        let registration = self.dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
        let id = registration.id();
        (registration, id)
    }
}

struct Believing;

#[async_trait]
impl Authenticator for Believing {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let identity = request.query("user").map_or_else(Identity::anonymous, Identity::user);
        Ok(match request.query("tenant") {
            Some(tenant) => identity.with_tenant(tenant),
            None => identity,
        })
    }
}

pub(crate) fn target(to: To) -> realtime_core::Target {
    use realtime_core::Target;
    match to {
        To::All => Target::all(),
        To::Room(room) => Target::room(room_name(room)),
        To::RoomIn(tenant, room) => Target::room_in(tenant_name(tenant), room_name(room)),
        To::Tenant(tenant) => Target::tenant(tenant_name(tenant)),
        To::User(user) => Target::user(user_name(user)),
        To::UserIn(tenant, user) => Target::user_in(tenant_name(tenant), user_name(user)),
    }
}

/// Joins a member to a room, or removes it.
pub(crate) async fn change_room(
    dispatcher: &Arc<Dispatcher<NodeCodec>>,
    member: Member,
    room: Id,
    enter: bool,
) -> realtime_core::Result<()> {
    use realtime_core::RoomMembership;
    let (user, room) = (user_name(member.user), room_name(room));
    match (enter, member.tenant.map(tenant_name)) {
        (true, None) => dispatcher.join_room(&user, &room).await,
        (true, Some(tenant)) => dispatcher.join_room_in(&tenant, &user, &room).await,
        (false, None) => dispatcher.leave_room(&user, &room).await,
        (false, Some(tenant)) => dispatcher.leave_room_in(&tenant, &user, &room).await,
    }
}
