use bytes::Bytes;

use crate::values::close::CloseReason;
use crate::values::cursor::Cursor;
use crate::values::drain::Drain;
use crate::values::event::{Event, Payload};
use crate::values::handler_error::HandlerError;

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

    /// The answer to something the client sent with this number.
    fn ack(&self, ack: u64, payload: &Payload) -> Self::Frame;

    /// An error, as the answer to the client's number if it gave one.
    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Self::Frame;

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
