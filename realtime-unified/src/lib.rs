// The README is a link to the repository's; no build but that of the documentation needs it.
#![cfg_attr(all(any(doc, doctest), feature = "socketio", feature = "sse", feature = "ws"), doc = include_str!("docs/links.md"))]
#![cfg_attr(all(any(doc, doctest), feature = "socketio", feature = "sse", feature = "ws"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(any(doc, doctest), feature = "socketio", feature = "sse", feature = "ws")),
    doc = "Several realtime transports behind one `NotificationService`."
)]

mod ask;
pub mod auth;
mod builder;
mod caller;
pub mod config;
mod context;
#[cfg(all(any(doc, doctest), feature = "socketio", feature = "sse", feature = "ws"))]
pub mod docs;
mod explain;
mod fakes;
pub mod handler;
mod handlers;
mod hooks;
mod listeners;
pub mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "otel")]
pub mod otel;
pub mod prelude;
mod registry;
mod rooms;
mod send;
mod service;
pub mod spi;
pub mod stats;
mod ticket;

pub use builder::NotificationServiceBuilder;
pub use caller::Caller;
pub use context::ContextExt;
pub use service::NotificationService;
pub use ticket::TicketConfig;

/// The attribute of an `impl` of [`Authenticator`], [`RoomPolicy`], [`LifecycleHook`] and the other
/// traits with async methods.
pub use async_trait::async_trait;
pub use realtime_core::explanation;
pub use realtime_core::{
    AckReply, AckStatus, Acks, AllowRooms, Authenticator, BoxError, CloseReason, ConnectRequest, ConnectionId,
    ConnectionInfo, Context, Drain, Error, Event, EventId, HandlerError, Handlers, Identity, Inbound, LifecycleHook,
    OfflineConfig, OfflineEvent, OfflineReason, OfflineSink, Payload, Propagator, RealtimeBroadcast, RealtimeProvider,
    Receipt, Refusal, Reply, Result, RoomAccess, RoomMembership, RoomPolicy, SocketIoBroadcast, StaticTokens, Target,
    TraceContext,
};
#[cfg(feature = "tls")]
pub use realtime_http::Tls;
pub use realtime_http::{Origins, Rejection, serve, shutdown_signal};
#[cfg(feature = "socketio")]
pub use realtime_socketio::{SocketIoConfig, SocketIoProvider};
#[cfg(feature = "sse")]
pub use realtime_sse::{SseConfig, SseProvider};
#[cfg(feature = "ws")]
pub use realtime_ws::{WsConfig, WsProvider};

#[cfg(feature = "disk")]
pub use realtime_disk as disk;
pub use realtime_http as http;
#[cfg(feature = "nats")]
pub use realtime_nats as nats;
#[cfg(feature = "redis")]
pub use realtime_redis as redis;
