//! Raw WebSocket (RFC 6455) behind the traits of `realtime-core`.
//!
//! One JSON object a message: `{"type","payload","id"}` from the server, `{"type","payload","ack"}`
//! from the client. Errors are `{"type":"error","payload":{"code","message"}}`, answers
//! `{"type":"ack","ack","payload"}`, in both directions.
//!
//! - [`WsProvider`]: the provider, its handlers and its routes.
//! - [`WsConfig`]: path, limits and timeouts.
//! - [`RawReply`]: the reply of handlers of messages outside the envelope.

mod codec;
mod config;
mod deadline;
mod decode;
mod fragments;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod heartbeat;
mod http;
mod probe;
mod protocol;
mod provider;
mod session;
mod settings;
mod writer;

pub use config::WsConfig;
pub use provider::WsProvider;
pub use realtime_core::{IntoRawReply, RawReply};
