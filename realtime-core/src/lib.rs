//! Traits, values and the addressing core of the `realtime-*` crates.
//!
//! This crate knows no HTTP server and no broker. It holds what every transport shares: who is
//! addressed ([`Target`]), what is sent ([`Event`]), the ordered log and its newest part
//! ([`Window`]), this node's connections ([`Hub`]), and the three traits an application sees:
//! [`RealtimeProvider`], [`RealtimeBroadcast`] and [`SocketIoBroadcast`].
//!
//! An event travels: [`RealtimeBroadcast::send`] → [`Dispatcher`] → [`Backplane::append`] → tail
//! loop → [`Window`] → [`Hub`] → outbox → [`Outlet`] → the wire.

mod ack;
mod asks;
mod auth;
mod backplane;
mod capabilities;
mod close;
mod codec;
mod config;
mod connection;
mod connection_stats;
mod context;
mod cursor;
mod cursor_key;
mod cuts;
mod directory;
mod dispatcher;
mod drain;
mod envelope;
mod error;
mod event;
mod handler;
mod hub;
mod identity;
mod inbound;
mod inbox;
mod json;
mod json_error;
mod lifecycle;
mod limits;
mod membership;
mod memory;
mod name;
mod outbox;
mod outlet;
mod pass;
mod policy;
mod position;
mod provider;
mod random;
mod receipt;
mod refusal;
mod registration;
mod room_events;
mod router;
mod runtime;
mod sink;
mod stats;
mod target;
mod window;
mod work;

pub use ack::{AckReply, AckStatus, Acks};
pub use asks::MAX_OPEN_ASKS;
pub use auth::{Anonymous, Authenticator, ConnectRequest};
pub use backplane::{AppendError, Backplane, Entry, LogState, Tail};
pub use capabilities::Capabilities;
pub use close::CloseReason;
pub use codec::{Codec, Frame};
pub use config::{DispatcherConfig, Limits, OutboxConfig, RoomDelivery, WindowConfig};
pub use connection::{ConnectionId, ConnectionInfo};
pub use connection_stats::ConnectionStats;
pub use context::{Context, Outgoing};
pub use cursor::{Cursor, CursorError, Epoch, Life, Mark};
pub use cursor_key::{CursorKey, CursorKeyError};
pub use directory::{Directory, DirectoryChange, Incarnation, NodeId, Presence};
pub use dispatcher::{Admitted, Asker, Dispatcher};
pub use drain::Drain;
pub use error::{BoxError, Error, Result};
pub use event::{Event, EventId, Payload};
pub use handler::{FnHandler, Handler, HandlerError, IntoReply, Reply};
pub use hub::Hub;
pub use identity::Identity;
pub use inbound::{Inbound, InboundPayload};
pub use inbox::Inbox;
pub use json::{DEFAULT_MAX_DEPTH, check_depth, one_line_json, replace_lone_surrogates};
pub use json_error::describe_json_error;
pub use lifecycle::LifecycleHook;
pub use limits::{Admission, Ticket};
pub use memory::{MemoryBackplane, MemoryDirectory};
pub use name::{MAX_NAME_BYTES, RESERVED_EVENTS, check_event_name, check_name};
pub use outbox::Take;
pub use outlet::{Outlet, PROBE_TIMEOUT, SessionOutlet};
pub use policy::{AllowRooms, DenyRooms, RoomAccess, RoomPolicy};
pub use position::Position;
pub use provider::{RealtimeBroadcast, RealtimeProvider, RoomMembership, SocketIoBroadcast};
pub use random::random_between;
pub use receipt::{Delivered, Receipt};
pub use refusal::{Refusal, RefusalKind};
pub use registration::Registration;
pub use router::Router;
pub use runtime::{DECISION_TIMEOUT, Runtime};
pub use sink::Link;
pub use stats::Stats;
pub use target::{Scope, Target};
pub use window::Window;
