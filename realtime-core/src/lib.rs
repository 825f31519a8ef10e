//! Traits, values and the addressing core of the `realtime-*` crates.
//!
//! This crate knows no HTTP server and no broker. It holds what every transport shares: who is
//! addressed ([`Target`]), what is sent ([`Event`]), the ordered log and its newest part
//! ([`Window`]), this node's connections ([`Hub`]), and the three traits an application sees:
//! [`RealtimeProvider`], [`RealtimeBroadcast`] and [`SocketIoBroadcast`].
//!
//! An event travels: [`RealtimeBroadcast::send`] → [`Dispatcher`] → [`Backplane::append`] → applied by its
//! sender or the tail loop → [`Window`] → [`Hub`] → outbox → [`Outlet`] → the wire.

mod admission;
mod delivery;
mod inbound;
mod log;
mod traits;
mod values;

pub use admission::limits::{Admission, PROBE_TIMEOUT, Ticket};
pub use delivery::asks::MAX_OPEN_ASKS;
pub use delivery::dispatcher::{Admitted, Asker, Dispatcher};
pub use delivery::hub::Hub;
pub use delivery::outbox::Take;
pub use delivery::registration::Registration;
pub use delivery::sink::Link;
pub use delivery::window::Window;
pub use inbound::inbox::Inbox;
pub use log::backplane::{AppendError, Appended, Backplane, Entry, LogState, Tail};
pub use log::directory::{Directory, DirectoryChange, Incarnation, NodeId, Presence};
pub use log::handle::Log;
pub use log::memory::{MemoryBackplane, MemoryDirectory};
pub use log::record::Record;
pub use log::repeat::RepeatKey;
pub use log::stored::{RecordError, Stored};
pub use log::tracker::Tracker;
pub use traits::auth::{Anonymous, Authenticator, ConnectRequest};
pub use traits::broadcast::{RealtimeBroadcast, RoomMembership, SocketIoBroadcast};
pub use traits::codec::{Codec, Frame};
pub use traits::context::Context;
pub use traits::handler::{FnHandler, Handler, IntoReply, Reply};
pub use traits::lifecycle::LifecycleHook;
pub use traits::outgoing::{Outgoing, Sends};
pub use traits::outlet::{Outlet, SessionOutlet};
pub use traits::policy::{AllowRooms, DenyRooms, RoomAccess, RoomPolicy};
pub use traits::provider::RealtimeProvider;
pub use traits::raw::IntoRawReply;
pub use traits::router::Router;
pub use traits::runtime::{DECISION_TIMEOUT, Runtime};
pub use values::ack::{AckReply, AckStatus, Acks};
pub use values::capabilities::Capabilities;
pub use values::close::CloseReason;
pub use values::config::{DispatcherConfig, Limits, OutboxConfig, RoomDelivery, WindowConfig};
pub use values::connection::{ConnectionId, ConnectionInfo};
pub use values::connection_data::ConnectionData;
pub use values::connection_stats::ConnectionStats;
pub use values::cursor::{Cursor, CursorError, Epoch, Life, Mark};
pub use values::cursor_key::{CursorKey, CursorKeyError};
pub use values::drain::Drain;
pub use values::error::{BoxError, Error, Result};
pub use values::event::{Event, Payload};
pub use values::event_id::EventId;
pub use values::handler_error::HandlerError;
pub use values::identity::Identity;
pub use values::inbound::{Inbound, InboundKind, InboundPayload};
pub use values::json::{DEFAULT_MAX_DEPTH, check_depth, one_line_json, replace_lone_surrogates};
pub use values::json_error::describe_json_error;
pub use values::name::{MAX_NAME_BYTES, RESERVED_EVENTS, check_event_name, check_name};
pub use values::position::Position;
pub use values::random::random_between;
pub use values::raw_reply::RawReply;
pub use values::receipt::{Delivered, Receipt};
pub use values::refusal::{Refusal, RefusalKind};
pub use values::states::States;
pub use values::stats::Stats;
pub use values::target::{Scope, Target};
