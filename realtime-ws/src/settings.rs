use std::time::Duration;

use realtime_core::Router;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::WsConfig;

/// The part of the configuration that sessions need; one for all of them.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) websocket: WebSocketConfig,
    /// The number of bytes that one read asks for.
    pub(crate) read_bytes: usize,
    pub(crate) max_depth: usize,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) pong_timeout: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) close_timeout: Duration,
    /// `true` if texts outside the envelope have a handler.
    pub(crate) handles_text: bool,
    /// `true` if binary messages have a handler.
    pub(crate) handles_binary: bool,
}

/// The largest number of bytes that one read asks for: they are on the stack.
pub(crate) const MAX_READ: usize = 16 * 1024;
const MIN_READ: usize = 256;

impl Settings {
    pub(crate) fn new(config: &WsConfig, router: &Router) -> Self {
        let read_bytes = config.read_buffer_bytes.clamp(MIN_READ, MAX_READ);
        Self {
            websocket: websocket(config.max_message_bytes, read_bytes),
            read_bytes,
            max_depth: config.max_depth,
            heartbeat: config.heartbeat,
            pong_timeout: config.pong_timeout,
            write_stall: config.delivery.write_stall(),
            close_timeout: config.close_timeout,
            handles_text: router.handles_text(),
            handles_binary: router.handles_binary(),
        }
    }
}

/// Returns how tungstenite reads; what it writes goes straight into our buffer.
pub(crate) fn websocket(max_message: usize, read_buffer: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}
