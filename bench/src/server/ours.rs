//! Our providers, as an application would mount them, with limits that do not bound the load.

use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use realtime_unified::config::{DeliveryConfig, Limits, RoomDelivery, WindowConfig};
use realtime_unified::http::WireConfig;
use realtime_unified::{
    AllowRooms, Authenticator, CloseReason, ConnectRequest, Context, Drain, Event, Identity, LifecycleHook,
    NotificationService, RealtimeBroadcast, Receipt, Refusal, RoomMembership, SocketIoConfig, SocketIoProvider,
    SseConfig, SseProvider, Target, WsConfig, WsProvider, serve,
};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Audience, Counters, Over, Publisher, ServeOptions, scrape, spans};
use crate::Result;
use crate::lock;
use crate::payload::EVENT;

struct Ours {
    service: NotificationService,
    over: Over,
    senders: Vec<Arc<dyn RealtimeBroadcast>>,
    rooms: Vec<Arc<dyn RoomMembership>>,
    hooks: Hooks,
    stop: Arc<Notify>,
    /// The server's task, until it is awaited.
    running: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
}

/// The time that plain requests may take after all connections have been closed.
const LAST: Duration = Duration::from_secs(1);

/// Believes `?user=…&tenant=…`; a client without them is anonymous.
struct FromQuery;

/// Counts the calls of hooks.
#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Counters>>);

pub(super) async fn start(listener: TcpListener, options: &ServeOptions) -> Result<Arc<dyn Publisher>> {
    let limits = Limits::default().with_connections(1_000_000).with_connections_per_user(1_000_000);
    let write_stall = Duration::from_millis(options.write_stall_ms);
    let window = WindowConfig::default().with_records(options.window_records);
    let delivery = DeliveryConfig::default().with_limits(limits).with_write_stall(write_stall).with_window(window);
    let hooks = Hooks::default();
    let builder = NotificationService::builder().authenticator(FromQuery).room_policy(AllowRooms);
    let mut builder = builder.hook(hooks.clone()).handshakes_per_second(u32::MAX);
    if let Some(at) = &options.log_at {
        let log = options.log.open(at, &options.log_name).await?;
        builder = builder.backplane(log.backplane);
        if let Some(directory) = log.directory {
            builder = builder.directory(directory);
        }
    }
    for provider in &options.providers {
        builder = match provider.as_str() {
            "socket" => {
                let config = SocketIoConfig::default().with_delivery(delivery.with_max_event_bytes(1024 * 1024));
                builder.provider(SocketIoProvider::new(config))
            }
            "sse" => {
                let config = SseConfig::default().with_delivery(delivery).with_room_delivery(RoomDelivery::Members);
                builder.provider(SseProvider::new(config))
            }
            "ws" => builder.provider(WsProvider::new(WsConfig::default().with_delivery(delivery))),
            other => return Err(format!("no provider is named \"{other}\"").into()),
        };
    }
    if let Some(level) = &options.spans {
        builder = spans::begin(builder, level)?;
    }
    let service = builder.build().await?;
    if let Some(every) = options.scrape_ms.map(Duration::from_millis) {
        scrape::begin(&service, every)?;
    }
    let (mut senders, mut rooms) = (Vec::new(), Vec::new());
    for provider in &options.providers {
        let provider = service.provider(provider)?;
        senders.push(provider.broadcast());
        rooms.extend(provider.rooms());
    }
    let wire = WireConfig::default().with_write_stall(write_stall).with_connections(1_000_000);
    let ready = service.clone();
    let router = service.router().route("/readyz", get(async move || readiness(&ready)));
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let server = serve(listener, router)
        .with_config(wire)
        .with_graceful_shutdown(async move { stopped.notified().await })
        .with_deadline(LAST);
    let running = Mutex::new(Some(tokio::spawn(server.into_future())));
    Ok(Arc::new(Ours { service, over: options.over, senders, rooms, hooks, stop, running }))
}

/// Returns the answer to a load balancer's question.
fn readiness(service: &NotificationService) -> StatusCode {
    if service.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Checks that a receipt says what this node's connections got, as that of every measured send has
/// to.
fn delivered(receipt: &Receipt) -> Result<()> {
    receipt.delivered.map(|_| ()).ok_or_else(|| "a receipt does not say what was delivered".into())
}

#[async_trait]
impl Publisher for Ours {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        let target = match audience {
            Audience::All => Target::all(),
            Audience::Room(room) => Target::room(room.as_str()),
            Audience::User(user) => Target::user(user.as_str()),
        };
        let event = Event::raw_json(EVENT, json)?;
        if self.over == Over::Record {
            return delivered(&self.service.send(target, event).await?);
        }
        let senders = if self.over == Over::First { &self.senders[..1] } else { &self.senders };
        for sender in senders {
            delivered(&sender.send(target.clone(), event.clone()).await?)?;
        }
        Ok(())
    }

    async fn join(&self, user: &str, room: &str) -> Result<()> {
        for rooms in &self.rooms {
            rooms.join_room(user, room).await?;
        }
        Ok(())
    }

    async fn drain(&self, over: Duration) {
        self.service.shutdown(Drain::over(over).with_hold(std::time::Duration::ZERO)).await;
        self.stop.notify_one();
        let running = lock(&self.running).take();
        if let Some(running) = running {
            let _ = running.await;
        }
    }

    fn report(&self) -> Counters {
        let stats = self.service.stats().into_iter().map(|(name, stats)| (name.to_owned(), stats)).collect();
        let hooks = lock(&self.hooks.0).clone();
        Counters { stats, ..hooks }
    }
}

#[async_trait]
impl Authenticator for FromQuery {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let Some(user) = request.query("user") else { return Ok(Identity::anonymous()) };
        let identity = Identity::user(&*user);
        Ok(match request.query("tenant") {
            Some(tenant) => identity.with_tenant(&*tenant),
            None => identity,
        })
    }
}

#[async_trait]
impl LifecycleHook for Hooks {
    async fn disconnected(&self, _: &Context, reason: &CloseReason) {
        *lock(&self.0).disconnected.entry(reason.to_string()).or_default() += 1;
    }
}
