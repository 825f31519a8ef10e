#![cfg_attr(all(feature = "socketio", feature = "sse", feature = "ws"), doc = include_str!("docs/links.md"))]
#![cfg_attr(all(feature = "socketio", feature = "sse", feature = "ws"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "socketio", feature = "sse", feature = "ws")),
    doc = "Several realtime transports behind one `NotificationService`; this build lacks some of them."
)]

mod ask;
mod builder;
mod caller;
mod context;
#[cfg(all(any(doc, doctest), feature = "socketio", feature = "sse", feature = "ws"))]
pub mod docs;
mod fakes;
mod handlers;
mod hooks;
pub mod prelude;
mod registry;
mod rooms;
mod send;
mod service;

pub use builder::NotificationServiceBuilder;
pub use caller::Caller;
pub use context::ContextExt;
pub use fakes::Fakes;
pub use service::NotificationService;

/// The attribute of an `impl` of [`Authenticator`], [`RoomPolicy`], [`LifecycleHook`] and the other
/// traits with async methods.
pub use async_trait::async_trait;
pub use realtime_core::{
    AckReply, AckStatus, Acks, AllowRooms, Anonymous, Authenticator, Capabilities, CloseReason, ConnectRequest,
    ConnectionId, ConnectionInfo, ConnectionStats, Context, Delivered, DeliveryConfig, DenyRooms, Drain, Error, Event,
    EventId, FromPayload, HandlerError, Handlers, Identity, Inbound, InboundKind, IntoRawReply, IntoReply,
    LifecycleHook, Limits, MemoryBackplane, MemoryDirectory, OutboxConfig, Payload, Presence, RawReply,
    RealtimeBroadcast, RealtimeProvider, Receipt, Refusal, RefusalKind, Reply, Result, RoomAccess, RoomDelivery,
    RoomMembership, RoomPolicy, SocketIoBroadcast, Stats, Target, WindowConfig, spi,
};
#[cfg(feature = "disk")]
pub use realtime_disk::{DiskBackplane, DiskConfig, SyncMode};
pub use realtime_http::{
    GuardedListener, HttpProvider, Origins, Rejection, TrustedProxies, WireConfig, WireInfo, serve, shutdown_signal,
};
#[cfg(feature = "redis")]
pub use realtime_redis::{RedisBackplane, RedisConfig, RedisDirectory};
#[cfg(feature = "socketio")]
pub use realtime_socketio::{SocketIoConfig, SocketIoProvider};
#[cfg(feature = "sse")]
pub use realtime_sse::{SseConfig, SseProvider};
#[cfg(feature = "ws")]
pub use realtime_ws::{WsConfig, WsProvider};
