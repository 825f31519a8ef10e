//! Traits, values and the addressing core of the `realtime-*` crates.
//!
//! This crate knows no HTTP server and no broker. It holds the parts that every transport shares:
//! the addressing ([`Target`]), the event ([`Event`]), the ordered log and its newest part
//! ([`Window`](spi::Window)), this node's connections ([`Hub`](spi::Hub)), and the three traits an
//! application sees: [`RealtimeProvider`], [`RealtimeBroadcast`] and [`SocketIoBroadcast`].
//!
//! The path of an event: [`RealtimeBroadcast::send`] → [`Dispatcher`](spi::Dispatcher) →
//! [`Backplane::append`](spi::Backplane::append) → applied by its sender or the tail loop →
//! [`Window`](spi::Window) → [`Hub`](spi::Hub) → outbox → [`Outlet`](spi::Outlet) →
//! session.

#[macro_use]
mod setters;

mod admission;
mod delivery;
pub mod explanation;
mod inbound;
mod log;
pub mod spi;
mod traits;
mod values;

pub use log::memory::{MemoryBackplane, MemoryDirectory};
pub use log::presence::{OnlineCount, OnlineIn, OnlineUser, Presence};
pub use log::propagator::Propagator;
pub use traits::auth::{Anonymous, Authenticator, ConnectRequest};
pub use traits::broadcast::{RealtimeBroadcast, RoomMembership, SocketIoBroadcast};
pub use traits::context::Context;
pub use traits::handler::{FromPayload, Handler, IntoReply, Reply};
pub use traits::handlers::Handlers;
pub use traits::lifecycle::LifecycleHook;
pub use traits::offline::OfflineSink;
pub use traits::outgoing::Outgoing;
pub use traits::policy::{AllowRooms, DenyRooms, RoomAccess, RoomPolicy};
pub use traits::provider::RealtimeProvider;
pub use traits::raw::IntoRawReply;
pub use traits::router::Router;
pub use traits::token_source::TokenSource;
pub use traits::tokens::StaticTokens;
pub use values::ack::{AckReply, AckStatus, Acks};
pub use values::ack_counters::AckStats;
pub use values::capabilities::Capabilities;
pub use values::close::CloseReason;
pub use values::config::{DeliveryConfig, Limits, OutboxConfig, RoomDelivery, WindowConfig};
pub use values::connection::{ConnectionId, ConnectionInfo};
pub use values::connection_data::ConnectionData;
pub use values::connection_stats::ConnectionStats;
pub use values::distribution::{BUCKETS, Distribution};
pub use values::drain::Drain;
pub use values::error::{BoxError, Error, Result};
pub use values::event::{Event, Payload};
pub use values::event_id::EventId;
pub use values::handler_error::HandlerError;
pub use values::health::Health;
pub use values::identity::Identity;
pub use values::inbound::{Inbound, InboundKind, InboundPayload};
pub use values::inbound_rate::InboundRate;
pub use values::log_size::LogSize;
pub use values::log_stats::LogStats;
pub use values::node::{NodeId, NodeInfo};
pub use values::offline_config::OfflineConfig;
pub use values::offline_event::{OfflineEvent, OfflineReason};
pub use values::offline_stats::OfflineStats;
pub use values::raw_reply::RawReply;
pub use values::receipt::{Delivered, Receipt};
pub use values::refreshed::Refreshed;
pub use values::refusal::{Refusal, RefusalKind};
pub use values::stats::Stats;
pub use values::target::{Scope, Target};
pub use values::timings::Timings;
pub use values::trace_context::TraceContext;
