//! The parts that the realtime transports share on axum.
//!
//! - [`serve()`]: an HTTP/1.1 and HTTP/2 server around a [`Router`](axum::Router) with the guards a
//!   push server needs.
//! - [`GuardedListener`]: the same guards for applications that call [`axum::serve`](axum::serve())
//!   themselves.
//! - [`GuardedStream`]: a stream that disconnects a peer that has stopped reading.
//! - [`Wire`]: the handle of one such connection, available through [`WireInfo`].
//! - [`WireConfig`]: the limits of all of them.
//! - [`TrustedProxies`]: the proxies that may name a client's address.

mod activity;
mod admit;
mod byte_stream;
mod caches;
mod config;
mod drive;
mod guard;
mod listener;
mod origin;
mod paths;
mod provider;
mod proxies;
mod refusal;
mod rejection;
mod serve;
mod shared;
mod signal;
mod spans;
mod throttle;
mod unacknowledged;
mod upgrade;
mod upload;
mod wire;

pub use admit::{ConnectQuery, ROOM_PARAMETERS, admit, admit_as};
pub use byte_stream::ByteStream;
pub use caches::NO_TRANSFORM;
pub use config::WireConfig;
pub use guard::{Guard, GuardedStream};
pub use listener::{GuardedListener, WireInfo};
pub use origin::{Origins, ProviderOrigins};
pub use paths::check_paths;
pub use provider::HttpProvider;
pub use proxies::{TrustedProxies, notice_foreign_server, peer_of};
pub use refusal::{error_response, method_response, refusal_response};
pub use rejection::Rejection;
pub use serve::{Serve, serve};
pub use signal::shutdown_signal;
pub use spans::Spans;
pub use unacknowledged::SendQueue;
pub use upgrade::{has_token, websocket_request};
pub use wire::Wire;
