//! Raw WebSocket (RFC 6455) behind the traits of `realtime-core`.
//!
//! One JSON object a message: `{"type","payload","id"}` from the server, `{"type","payload","ack"}` from the client.
//! Errors are `{"type":"error","payload":{"code","message"}}`, answers `{"type":"ack","ack","payload"}`, in both directions.
//!
//! - [`WsProvider`]: the provider, its handlers and its routes.
//! - [`WsConfig`]: path, limits and times.
//! - [`RawReply`]: what handlers of messages outside the envelope send back.

mod alarm;
mod codec;
mod config;
mod decode;
mod handshake;
mod heartbeat;
mod probe;
mod protocol;
mod provider;
mod raw;
mod session;
mod settings;
mod writer;

pub use config::WsConfig;
pub use provider::WsProvider;
pub use raw::{IntoRawReply, RawReply};
