//! Test clients over real sockets that reconnect with the cursor that they had.

mod dialer;
mod error;
mod sse;
mod sse_parser;
mod ws;

pub use error::ClientError;
pub use sse::SseClient;
pub use sse_parser::{SseEvent, SseItem, SseParser};
pub use ws::{WsClient, WsEvent};
