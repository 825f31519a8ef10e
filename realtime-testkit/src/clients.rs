//! Test clients over real sockets that come back after a cut with the place they had.

mod error;
mod sse;
mod sse_parser;
mod ws;

pub use error::ClientError;
pub use sse::{SseClient, SseEvent};
pub use sse_parser::{SseItem, SseParser};
pub use ws::{WsClient, WsEvent};
