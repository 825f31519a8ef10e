//! The parts that the realtime transports share on axum.
//!
//! - [`serve()`]: an HTTP/1.1 and HTTP/2 server around a [`Router`](axum::Router) with the guards a
//!   push server needs.
//! - [`GuardedListener`]: the same guards for applications that call [`axum::serve`](axum::serve())
//!   themselves.
//! - [`GuardedStream`]: a stream that disconnects a peer that has stopped reading.
//! - [`Wire`]: the handle of one such connection, available through [`WireInfo`].
//! - [`WireConfig`]: the limits of all of them.
//! - `Tls` (feature `tls`): the certificate of a server, which can be replaced while it runs.
//! - [`Origins`] and [`TrustedProxies`]: the pages that may connect, and the proxies that may name
//!   a client's address.
//! - [`Cors`]: a layer with which these pages may call routes of the application's own.
//! - [`Rejection`]: an error as the response of an axum handler.
//! - [`HttpProvider`]: a transport with routes; what only authors of one need is in [`spi`].

mod activity;
mod admit;
mod byte_stream;
mod caches;
mod config;
mod cors;
mod drive;
mod ended;
mod guard;
mod head;
mod listener;
mod origin;
mod paths;
mod pending;
mod provider;
mod proxies;
#[cfg(feature = "tls")]
mod records;
mod refusal;
mod rejection;
mod serve;
mod shared;
mod signal;
mod spans;
pub mod spi;
mod throttle;
#[cfg(feature = "tls")]
mod tls;
mod unacknowledged;
mod upgrade;
mod upload;
mod wire;

pub use byte_stream::ByteStream;
pub use config::WireConfig;
pub use cors::{Cors, CorsService};
pub use ended::ListenerStats;
pub use guard::{Guard, GuardedStream};
pub use listener::{GuardedListener, WireInfo};
pub use origin::Origins;
pub use provider::HttpProvider;
pub use proxies::TrustedProxies;
pub use rejection::Rejection;
pub use serve::{Serve, serve};
pub use signal::shutdown_signal;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use unacknowledged::SendQueue;
pub use wire::Wire;
