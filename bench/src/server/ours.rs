//! Our providers, as an application would mount them, with limits that do not bound the load.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use realtime_unified::{
    Authenticator, CloseReason, ConnectRequest, ConnectionInfo, Event, Identity, LifecycleHook, Limits,
    NotificationService, RealtimeBroadcast, Refusal, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target,
    WireConfig, WsConfig, WsProvider, serve,
};
use tokio::net::TcpListener;

use super::{Audience, Publisher, Report, ServeOptions};
use crate::Result;
use crate::payload::EVENT;

struct Ours {
    service: NotificationService,
    senders: Vec<Arc<dyn RealtimeBroadcast>>,
    hooks: Hooks,
}

/// Believes `?user=…&tenant=…`, and takes everybody else as nobody.
struct FromQuery;

/// Counts the calls.
#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Report>>);

pub(super) async fn start(listener: TcpListener, options: &ServeOptions) -> Result<Arc<dyn Publisher>> {
    let limits = Limits::default().with_connections(1_000_000).with_connections_per_user(1_000_000);
    let write_stall = Duration::from_millis(options.write_stall_ms);
    let hooks = Hooks::default();
    let mut builder = NotificationService::builder().authenticator(FromQuery).hook(hooks.clone());
    for provider in &options.providers {
        builder = match provider.as_str() {
            "socket" => {
                let config = SocketIoConfig::default().with_limits(limits).with_write_stall(write_stall);
                builder.provider(SocketIoProvider::new(config))
            }
            "sse" => {
                let config = SseConfig::default().with_limits(limits).with_write_stall(write_stall);
                builder.provider(SseProvider::new(config))
            }
            "ws" => {
                let config = WsConfig::default().with_limits(limits).with_write_stall(write_stall);
                builder.provider(WsProvider::new(config))
            }
            other => return Err(format!("no provider is named \"{other}\"").into()),
        };
    }
    let service = builder.build().await?;
    let mut senders = Vec::new();
    for provider in &options.providers {
        senders.push(service.provider(provider)?.broadcast());
    }
    let wire = WireConfig::default().with_write_stall(write_stall);
    tokio::spawn(std::future::IntoFuture::into_future(serve(listener, service.router()).with_config(wire)));
    Ok(Arc::new(Ours { service, senders, hooks }))
}

#[async_trait]
impl Publisher for Ours {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        let target = match audience {
            Audience::All => Target::all(),
            Audience::User(user) => Target::user(user.as_str()),
        };
        let event = Event::raw_json(EVENT, json)?;
        for sender in &self.senders {
            sender.send(target.clone(), event.clone()).await?;
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let stats = self.service.stats().into_iter().map(|(name, stats)| (name.to_owned(), stats)).collect();
        let hooks = self.hooks.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report { stats, ..hooks }
    }
}

#[async_trait]
impl Authenticator for FromQuery {
    async fn authenticate(&self, request: &ConnectRequest<'_>) -> Result<Identity, Refusal> {
        let Some(user) = request.query("user") else { return Ok(Identity::anonymous()) };
        let identity = Identity::user(&*user);
        Ok(match request.query("tenant") {
            Some(tenant) => identity.tenant(&*tenant),
            None => identity,
        })
    }
}

#[async_trait]
impl LifecycleHook for Hooks {
    async fn connected(&self, _: &ConnectionInfo) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).connected += 1;
    }

    async fn disconnected(&self, _: &ConnectionInfo, reason: &CloseReason) {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *report.disconnected.entry(reason.to_string()).or_default() += 1;
    }
}
