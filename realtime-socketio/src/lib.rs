//! Socket.IO provider of the `realtime-*` crates: socketioxide carries the protocol, the core decides what is sent.
//!
//! How an outbox reaches the wire: a [`Registration`](realtime_core::Registration) is the source of a pump, which puts
//! packets that were encoded once into the socket's channel, never more than a window of credit; the credit comes back
//! when the websocket's stream was flushed or a long-polling answer has gone.

mod adapter;
mod answer;
mod carrier;
mod carriers;
mod cause;
mod codec;
mod config;
mod connect;
mod credit;
mod denial;
mod engine;
mod exchange;
mod guard;
mod heartbeat;
mod inbound;
mod intake;
mod lobby;
mod opening;
mod outflow;
mod outlet;
mod packet;
mod post;
mod probe;
mod provider;
mod pulse;
mod pump;
mod query;
mod repeats;
mod secret;
mod server;
mod service;
mod session;
mod stream;
mod threshold;
mod turnstile;

pub use adapter::DirectAdapter;
pub use config::SocketIoConfig;
pub use provider::SocketIoProvider;
/// For [`SocketIoProvider::io`], whose types are this crate's.
pub use socketioxide;
