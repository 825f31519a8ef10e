//! The process under test: one provider or all of them, their routers behind hyper, and the calls
//! of its hooks and handlers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use realtime_core::spi::{Log, Runtime};
use realtime_core::{
    Authenticator, CloseReason, ConnectRequest, ConnectionId, ConnectionInfo, Context, DeliveryConfig, Drain, Error,
    Handlers, Identity, LifecycleHook, Limits, OutboxConfig, Refusal, RoomAccess, RoomDelivery, RoomPolicy, Stats,
    WindowConfig,
};
use realtime_http::HttpProvider;
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_sse::{SseConfig, SseProvider};
use realtime_wire::Transport;
use realtime_ws::{WsConfig, WsProvider};
use serde_json::Value;
use tokio::time::Instant;
use tower_service::Service;

use crate::calls::Sender;
use crate::generate::{CLOSED_ROOM, FROM_NOW_ROOM};
use crate::lock;
use crate::log_spy::LogSpy;
use crate::pipe::ServerEnd;
use crate::schedule::{By, Id, Setup};

/// The event that clients send so that a handler sees their connection.
pub(crate) const HELLO: &str = "hello";

/// A call of a lifecycle hook.
#[derive(Clone, Debug)]
pub(crate) struct HookCall {
    /// The serial number that the client gave the connection.
    pub(crate) serial: usize,
    /// The id of a new connection; `None` if the connection is gone.
    pub(crate) connected: Option<ConnectionId>,
    pub(crate) at: Instant,
}

pub(crate) struct Server {
    /// The providers; that of the schedule's transport is the first one.
    providers: Vec<(Transport, Arc<dyn HttpProvider>)>,
    router: axum::Router,
    http: http1::Builder,
    hooks: Hooks,
    log: Log,
    contexts: Contexts,
    /// The log, as the process has it.
    pub(crate) spy: LogSpy,
}

/// The contexts of handlers, by the serial numbers of the connections whose events they have
/// handled.
#[derive(Clone, Default)]
struct Contexts(Arc<Mutex<HashMap<usize, Context>>>);

#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Vec<HookCall>>>);

impl Server {
    /// Starts with this log, of which it knows nothing; `begun` is the beginning of the run.
    pub(crate) async fn start(setup: &Setup, spy: LogSpy, begun: Instant) -> Result<Self, Error> {
        let mut transports = vec![setup.transport];
        if setup.mixed {
            let others = [Transport::SocketIo, Transport::Sse, Transport::Ws];
            transports.extend(others.into_iter().filter(|other| other.provider() != setup.transport.provider()));
        }
        let contexts = Contexts::default();
        let hooks = Hooks::default();
        spy.begin();
        let runtime = Runtime::in_memory()
            .with_authenticator(DelayedAuthenticator { begun })
            .with_policy(Rooms)
            .with_backplane(spy.clone())
            .with_hook(hooks.clone());
        let (mut providers, mut router) = (Vec::new(), axum::Router::new());
        for transport in transports {
            let provider = provider(transport, setup, &contexts);
            provider.attach(runtime.clone()).await?;
            router = router.merge(Arc::clone(&provider).router());
            providers.push((transport, provider));
        }
        let mut http = http1::Builder::new();
        // The least that hyper accepts, so that the bytes for a stalled client wait in the outbox
        // and not there.
        http.max_buf_size(8 * 1024);
        Ok(Self { providers, router, http, hooks, log: runtime.log, contexts, spy })
    }

    /// Serves one connection, as a listener would.
    pub(crate) fn accept(&self, end: ServerEnd) {
        let router = self.router.clone();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let mut router = router.clone();
            async move { router.call(request).await }
        });
        let connection = self.http.serve_connection(TokioIo::new(end), service).with_upgrades();
        tokio::spawn(async move {
            // However it ends, the client sees the result.
            let _ = connection.await;
        });
    }

    /// Returns the counters of each provider, that of the schedule's transport first.
    pub(crate) fn stats(&self) -> Vec<(Transport, Stats)> {
        self.providers.iter().map(|(transport, provider)| (*transport, provider.stats())).collect()
    }

    /// Returns the counters of the provider that serves this transport.
    pub(crate) fn stats_of(&self, transport: Transport) -> Stats {
        let is_it = |(served, _): &&(Transport, _)| served.provider() == transport.provider();
        self.providers.iter().find(is_it).map(|(_, provider)| provider.stats()).unwrap_or_default()
    }

    /// Returns the sender of an event; `None` while no handler has handled an event of the
    /// connection with this serial number.
    pub(crate) fn sender(&self, by: By, serial: Option<usize>) -> Option<Sender> {
        Some(match by {
            By::All => Sender::Log(self.log.clone(), None),
            By::Handler(_) => Sender::Handler(lock(&self.contexts.0).get(&serial?)?.clone()),
            By::Named(providers) => Sender::Log(self.log.clone(), Some(providers)),
            By::Provider => Sender::Provider(self.first().broadcast()),
        })
    }

    /// Returns the provider of the schedule's transport.
    pub(crate) fn first(&self) -> &dyn HttpProvider {
        &*self.providers[0].1
    }

    /// Takes the calls of hooks since the previous call.
    pub(crate) fn hook_calls(&self) -> Vec<HookCall> {
        std::mem::take(&mut *lock(&self.hooks.0))
    }

    pub(crate) fn shutdown(&self, drain: Drain) -> BoxFuture<'static, ()> {
        let providers: Vec<_> = self.providers.iter().map(|(_, provider)| Arc::clone(provider)).collect();
        Box::pin(async move {
            // As the service does it.
            join_all(providers.iter().map(|provider| provider.drain(drain))).await;
            join_all(providers.iter().map(|provider| provider.shutdown(Drain::now()))).await;
        })
    }
}

impl Drop for Server {
    /// Drops the contexts, which lead to the providers whose handlers keep them.
    fn drop(&mut self) {
        lock(&self.contexts.0).clear();
    }
}

fn provider(transport: Transport, setup: &Setup, contexts: &Contexts) -> Arc<dyn HttpProvider> {
    let limits = Limits::default().with_connections_per_user(10_000);
    let outbox = OutboxConfig::default().with_frames(setup.outbox_frames).with_bytes(setup.outbox_bytes);
    let window = WindowConfig::default()
        .with_records(setup.window_records)
        .with_bytes(setup.window_bytes)
        .with_age(Duration::from_secs(setup.window_seconds));
    let contexts = contexts.clone();
    let keep = move |context: Context, _: Value| {
        contexts.keep(context);
        std::future::ready(())
    };
    let delivery = DeliveryConfig::default().with_limits(limits).with_outbox(outbox).with_window(window);
    match transport {
        Transport::Polling | Transport::SocketIo => {
            let config = SocketIoConfig::default().with_delivery(delivery.with_max_event_bytes(1024 * 1024));
            Arc::new(SocketIoProvider::new(config).on(HELLO, keep))
        }
        Transport::Sse => {
            let rooms = if setup.everyone { RoomDelivery::Everyone } else { RoomDelivery::Members };
            Arc::new(SseProvider::new(SseConfig::default().with_delivery(delivery).with_room_delivery(rooms)))
        }
        Transport::Ws => Arc::new(WsProvider::new(WsConfig::default().with_delivery(delivery)).on(HELLO, keep)),
    }
}

pub(crate) fn user_name(user: Id) -> String {
    format!("u{user}")
}

pub(crate) fn tenant_name(tenant: Id) -> String {
    format!("t{tenant}")
}

pub(crate) fn room_name(room: Id) -> String {
    format!("r{room}")
}

/// Believes the query, but perhaps not before some time.
struct DelayedAuthenticator {
    begun: Instant,
}

/// The base of an identity's expiry, so late that it never comes: the seconds after it tell the
/// connection's serial number to the hooks.
const NEVER: Duration = Duration::from_secs(1 << 36);

#[async_trait]
impl Authenticator for DelayedAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let serial = request.query("serial").and_then(|serial| serial.parse().ok());
        let serial = serial.ok_or_else(|| Refusal::bad_request("no serial number"))?;
        if let Some(time) = request.query("after").and_then(|time| time.parse().ok()) {
            tokio::time::sleep_until(self.begun + Duration::from_millis(time)).await;
        }
        let mut identity = Identity::anonymous();
        if let Some(user) = request.query("user") {
            identity = Identity::user(user);
        }
        if let Some(tenant) = request.query("tenant") {
            identity = identity.with_tenant(tenant);
        }
        Ok(identity.with_expiry(SystemTime::UNIX_EPOCH + NEVER + Duration::from_secs(serial)))
    }
}

struct Rooms;

#[async_trait]
impl RoomPolicy for Rooms {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        match room {
            _ if room == room_name(CLOSED_ROOM) => RoomAccess::Deny,
            _ if room == room_name(FROM_NOW_ROOM) => RoomAccess::AllowFromNow,
            _ => RoomAccess::Allow,
        }
    }
}

/// Returns the serial number that a connection's client gave it.
fn serial_of(identity: &Identity) -> Option<usize> {
    let end = identity.expiry().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH + NEVER).ok());
    end.map(|serial| serial.as_secs() as usize)
}

impl Contexts {
    fn keep(&self, context: Context) {
        if let Some(serial) = serial_of(context.identity()) {
            lock(&self.0).insert(serial, context);
        }
    }
}

impl Hooks {
    fn add(&self, connection: &ConnectionInfo, connected: Option<ConnectionId>) {
        if let Some(serial) = serial_of(&connection.identity) {
            lock(&self.0).push(HookCall { serial, connected, at: Instant::now() });
        }
    }
}

#[async_trait]
impl LifecycleHook for Hooks {
    async fn connected(&self, cx: &Context) {
        self.add(cx.connection(), Some(cx.connection_id()));
    }

    async fn disconnected(&self, cx: &Context, _: &CloseReason) {
        self.add(cx.connection(), None);
    }
}
