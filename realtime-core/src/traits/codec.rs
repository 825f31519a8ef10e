use bytes::Bytes;

use crate::values::close::CloseReason;
use crate::values::cursor::Cursor;
use crate::values::drain::Drain;
use crate::values::event::{Event, Payload};
use crate::values::handler_error::HandlerError;
use crate::values::raw_reply::RawReply;

/// Something encoded for the wire, cheap to clone: its bytes are shared.
pub trait Frame: Clone + Send + Sync + 'static {
    /// How much memory it stands for, in bytes; outboxes and the window are bounded by it.
    fn size(&self) -> usize;
}

impl Frame for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

/// How a provider writes things on its wire. Called once per event, however many connections get it.
pub trait Codec: Send + Sync + 'static {
    /// What it produces.
    type Frame: Frame;

    /// An event; with its cursor if it has a place in the log.
    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Self::Frame;

    /// An event the client is to answer, naming this number.
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

    /// A bare place, for a client that has not had an event for long.
    fn cursor(&self, cursor: Cursor) -> Self::Frame;

    /// Tells a client, before its connection is closed, when to come back; by default the event `reconnect` with
    /// `{"delayMs", "reason"}`.
    fn reconnect(&self, drain: Drain, reason: &CloseReason) -> Self::Frame {
        let delay = drain.reconnect_delay().as_millis() as u64;
        let value = serde_json::json!({ "delayMs": delay, "reason": reason.text() });
        self.event(&Event::protocol("reconnect", &value), None)
    }
}
