//! Socket.IO provider of the `realtime-*` crates: socketioxide carries the protocol, the core decides what is sent.
//!
//! How an outbox reaches the wire: a [`Registration`](realtime_core::Registration) is the source of a session, which puts
//! packets that were encoded once into the socket's channel, never more than a window of credit; the credit comes back
//! when the websocket's stream was flushed or a long-polling answer has gone.

mod codec;
mod config;
mod connect;
mod engine;
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
/// For [`SocketIoProvider::io`], whose types are this crate's.
pub use socketioxide;
