//! The clients' side of each protocol without I/O: bytes in, server messages out, and what a client
//! sends.
//!
//! - [`http`], [`websocket`], [`sse`] and [`socketio`]: framing. They hand on borrowed pieces and
//!   parse no JSON.
//! - [`Connection`]: the protocol of one transport, with handshake, heartbeat and framing. It has
//!   no sockets and no clock.
//! - [`Encoded`]: a message in its frame. [`Encoded::scan`] finds name and cursor by their
//!   position, for a load generator; [`Encoded::parse`] reads all of it into a [`ServerMessage`],
//!   for the model.

mod connection;
pub mod http;
mod message;
mod options;
mod polling;
pub mod socketio;
pub mod sse;
pub mod websocket;

pub use connection::Connection;
pub use message::{ClientMessage, Encoded, Received, Scanned, ServerMessage};
pub use options::{ConnectOptions, Transport};

/// A result of this crate. An error says what the server may never send, and is only printed.
pub type Result<T, E = String> = std::result::Result<T, E>;
