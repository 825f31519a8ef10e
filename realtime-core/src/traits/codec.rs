use std::time::Duration;

use bytes::Bytes;

use crate::values::close::CloseReason;
use crate::values::cursor::Cursor;
use crate::values::drain::Drain;
use crate::values::event::{Event, Payload};
use crate::values::handler_error::HandlerError;
use crate::values::raw_reply::RawReply;

/// An encoded message, cheap to clone: the bytes are shared.
pub trait Frame: Clone + Send + Sync + 'static {
    /// Returns the memory that the frame accounts for, in bytes; outboxes and the window are
    /// bounded by it.
    fn size(&self) -> usize;
}

impl Frame for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

/// Encodes events and replies in a provider's format. Called once per event, however many
/// connections get it.
pub trait Codec: Send + Sync + 'static {
    /// The encoded form.
    type Frame: Frame;

    /// Encodes an event; with its cursor if it has a position in the log.
    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Self::Frame;

    /// Encodes an event that the client is to answer with this number.
    fn ask(&self, event: &Event, ack: u64) -> Self::Frame;

    /// Encodes the answer to a message that the client sent with this number; `None` sends nothing.
    fn ack(&self, ack: u64, payload: &Payload) -> Option<Self::Frame>;

    /// Encodes an error, as the answer to the client's number if there is one; `None` sends
    /// nothing.
    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Self::Frame>;

    /// Encodes the reply of a handler of raw messages; `None`, as by default, sends nothing: only a
    /// transport that passes raw messages on needs a form for their replies.
    fn raw_reply(&self, reply: RawReply) -> Option<Self::Frame> {
        let _ = reply;
        None
    }

    /// Encodes a cursor without an event, for a client that has received no event for a long time.
    fn cursor(&self, cursor: Cursor) -> Self::Frame;

    /// Encodes the notice, sent before a connection is closed, of the delay after which the client
    /// should reconnect; by default the event `reconnect` with `{"delayMs", "reason"}`.
    fn reconnect(&self, drain: Drain, reason: &CloseReason) -> Self::Frame {
        let delay = drain.reconnect_delay().as_millis() as u64;
        let value = serde_json::json!({ "delayMs": delay, "reason": reason.text() });
        self.event(&Event::protocol("reconnect", &value), None)
    }

    /// Encodes the notice that the connection's credentials end after this time; by default the
    /// event `expiring` with `{"expiresInMs"}`.
    fn expiring(&self, left: Duration) -> Self::Frame {
        let value = serde_json::json!({ "expiresInMs": left.as_millis() as u64 });
        self.event(&Event::protocol("expiring", &value), None)
    }

    /// Returns whether the transport's own close carries a code and a text, as by default. Without
    /// it the last frame of a connection that the application or its credentials end is the event
    /// `closed` with `{"code", "reason", "reconnect"}`.
    fn has_close_codes(&self) -> bool {
        true
    }
}
