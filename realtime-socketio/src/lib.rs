//! Socket.IO provider of the `realtime-*` crates: socketioxide carries the protocol, the core
//! decides what is sent.
//!
//! An outbox reaches the wire through a session (`session.rs`), whose source is a
//! [`Registration`](realtime_core::spi::Registration). The session puts packets that were encoded
//! once into the socket's channel, never more than a window of credit. The credit is returned when
//! the websocket's stream was flushed or a long-polling response was sent.
//!
//! The modules form three layers, each of which imports the lower ones only:
//!
//! - the provider, with the file names of its siblings: `config`, `codec`, `session`, `provider`,
//!   `http`; `gate` admits connections to the core, `connect`, `inbound` and `outlet` connect it to
//!   socketioxide, `server` assembles all parts.
//! - `engine`: what is added to engineioxide and socketioxide: the state of a session, the table of
//!   sessions, long polling, websockets.
//! - `packet`: packets and frames as bytes.

mod codec;
mod config;
mod connect;
mod engine;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod http;
mod inbound;
mod outlet;
mod packet;
mod provider;
mod server;
mod session;

pub use config::SocketIoConfig;
pub use engine::adapter::DirectAdapter;
pub use provider::SocketIoProvider;
/// Re-export for [`SocketIoProvider::io`], whose types are those of this version.
pub use socketioxide;
