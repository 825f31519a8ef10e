use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::config::WsConfig;
use crate::raw::{BINARY, TEXT};

/// What sessions need of the configuration; one for all of them.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) websocket: WebSocketConfig,
    /// Bytes asked for by one read.
    pub(crate) read_bytes: usize,
    pub(crate) max_depth: usize,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) pong_timeout: Duration,
    pub(crate) write_stall: Duration,
    pub(crate) close_timeout: Duration,
    /// The name under which texts that are no envelope go to their handler, if there is one.
    pub(crate) text: Option<Arc<str>>,
    /// The name under which binary messages go to their handler, if there is one.
    pub(crate) binary: Option<Arc<str>>,
}

/// The most bytes that one read asks for: they stand on the stack.
pub(crate) const MAX_READ: usize = 16 * 1024;
const MIN_READ: usize = 256;

impl Settings {
    pub(crate) fn new(config: &WsConfig, text: bool, binary: bool) -> Self {
        let read_bytes = config.read_buffer_bytes.clamp(MIN_READ, MAX_READ);
        Self {
            websocket: websocket(config.max_message_bytes, read_bytes),
            read_bytes,
            max_depth: config.max_depth,
            heartbeat: config.heartbeat,
            pong_timeout: config.pong_timeout,
            write_stall: config.delivery.write_stall(),
            close_timeout: config.close_timeout,
            text: text.then(|| TEXT.into()),
            binary: binary.then(|| BINARY.into()),
        }
    }
}

/// How tungstenite reads; what it writes goes into our buffer at once.
pub(crate) fn websocket(max_message: usize, read_buffer: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}
