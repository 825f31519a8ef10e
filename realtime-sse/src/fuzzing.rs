//! Entrances to private decoders and encoders, for `tests/fuzz`.

use bytes::Bytes;
use http::request::Parts;
use realtime_core::spi::{Codec, Cursor};
use realtime_core::{Event, HandlerError};

use crate::codec::{COMMENT, SseCodec};

const CODEC: SseCodec = SseCodec { traceparent: false };

/// Encodes an event as one block.
#[must_use]
pub fn event(event: &Event, cursor: Option<Cursor>) -> Bytes {
    CODEC.event(event, cursor)
}

/// Encodes an error as one block.
#[must_use]
pub fn error(error: &HandlerError, ack: Option<u64>) -> Option<Bytes> {
    CODEC.error(error, ack)
}

/// Returns the comment of a heartbeat.
#[must_use]
pub fn comment() -> Bytes {
    COMMENT
}

/// Returns the position that a request names in its header.
#[must_use]
pub fn last_event_id(parts: &Parts) -> Option<String> {
    crate::http::last_event_id(parts)
}
