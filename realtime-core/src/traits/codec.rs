use bytes::Bytes;

use crate::values::close::CloseReason;
use crate::values::cursor::Cursor;
use crate::values::drain::Drain;
use crate::values::event::{Event, Payload};
use crate::values::handler_error::HandlerError;
use crate::values::raw_reply::RawReply;

/// An encoded event, ready for the wire; cheap to clone, because the bytes are shared.
pub trait Frame: Clone + Send + Sync + 'static {
    /// Returns the memory that the frame stands for, in bytes; outboxes and the window are bounded
    /// by it.
    fn size(&self) -> usize;
}

impl Frame for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

/// Encodes what a provider sends. Called once per event, however many connections get it.
pub trait Codec: Send + Sync + 'static {
    /// The encoded form.
    type Frame: Frame;

    /// Encodes an event; with its cursor if it has a position in the log.
    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Self::Frame;

    /// Encodes an event that the client is to answer, with this number.
    fn ask(&self, event: &Event, ack: u64) -> Self::Frame;

    /// Encodes the answer to something that the client sent with this number; `None` sends nothing.
    fn ack(&self, ack: u64, payload: &Payload) -> Option<Self::Frame>;

    /// Encodes an error, as the answer to the client's number if it gave one; `None` sends nothing.
    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Self::Frame>;

    /// Encodes what a handler of raw messages sends back; `None`, as by default, sends nothing: only
    /// a transport that passes raw messages on needs a form for their replies.
    fn raw_reply(&self, reply: RawReply) -> Option<Self::Frame> {
        let _ = reply;
        None
    }

    /// Encodes a bare cursor, for a client that has not received an event for long.
    fn cursor(&self, cursor: Cursor) -> Self::Frame;

    /// Encodes when a client should reconnect, sent before its connection is closed; by default the
    /// event `reconnect` with `{"delayMs", "reason"}`.
    fn reconnect(&self, drain: Drain, reason: &CloseReason) -> Self::Frame {
        let delay = drain.reconnect_delay().as_millis() as u64;
        let value = serde_json::json!({ "delayMs": delay, "reason": reason.text() });
        self.event(&Event::protocol("reconnect", &value), None)
    }
}
