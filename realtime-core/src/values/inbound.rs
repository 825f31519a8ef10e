use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::trace_context::TraceContext;

/// A decoded event from a client, or a raw message: one outside the transport's event envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbound {
    /// The event's name, as the client sent it; empty for a raw message, which has none
    /// ([`Inbound::is_raw`]).
    pub name: Arc<str>,
    /// The event's payload, or the raw message.
    pub payload: InboundPayload,
    /// The client's number for the answer, if the client wants one; a raw message has none.
    pub ack: Option<u64>,
    trace: Option<Box<TraceContext>>,
}

/// The form in which the client sent an [`Inbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboundKind {
    /// An event.
    Event,
    /// A raw binary message.
    RawBinary,
    /// A raw text message.
    RawText,
}

/// The payload of an inbound event: JSON, and attached bytes where the transport has them.
///
/// Bytes are in the JSON as `{"_placeholder":true,"num":N}`, N being their index in
/// [`InboundPayload::attachments`] (as in the Socket.IO protocol, revision 5). Several arguments
/// are one array. Of a raw message, the payload is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPayload {
    kind: InboundKind,
    json: Bytes,
    attachments: Vec<Bytes>,
}

impl Inbound {
    /// Creates an event with a JSON payload, as a transport or a test does.
    pub fn new(name: impl Into<Arc<str>>, json: impl Into<Bytes>) -> Self {
        Self { name: name.into(), payload: InboundPayload::json_text(json), ack: None, trace: None }
    }

    /// Creates a raw binary message.
    pub fn raw_binary(message: impl Into<Bytes>) -> Self {
        Self::raw(InboundKind::RawBinary, message.into())
    }

    /// Creates a raw text message.
    pub fn raw_text(message: impl Into<String>) -> Self {
        Self::raw(InboundKind::RawText, message.into().into())
    }

    fn raw(kind: InboundKind, message: Bytes) -> Self {
        let payload = InboundPayload { kind, json: message, attachments: Vec::new() };
        Self { name: Arc::default(), payload, ack: None, trace: None }
    }

    /// Returns the form in which the client sent this.
    pub fn kind(&self) -> InboundKind {
        self.payload.kind
    }

    /// Returns whether this is a raw message and no event.
    pub fn is_raw(&self) -> bool {
        self.kind() != InboundKind::Event
    }

    /// Returns the same event, to be answered with this number.
    #[must_use]
    pub fn with_ack(mut self, ack: u64) -> Self {
        self.ack = Some(ack);
        self
    }

    /// Sets the trace that the client says the event belongs to; `None` for none.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace.map(Box::new);
        self
    }

    /// Returns the trace that the client says the event belongs to.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    /// Checks the name that a client gave the event: 1–256 bytes, no control characters, none of
    /// [`crate::spi::RESERVED_EVENTS`] except `subscribe` and `unsubscribe`.
    ///
    /// # Errors
    /// The error for the client, with code `invalid_name` or `reserved_name`.
    pub fn check_name(&self) -> Result<(), HandlerError> {
        // The name is the client's own, which may know the reserved ones.
        crate::values::name::check_inbound_name(&self.name)
            .map_err(|error| HandlerError::new(error.code(), error.to_string()))
    }

    /// Returns the number of bytes that this accounts for in queues.
    pub fn size(&self) -> usize {
        let attachments: usize = self.payload.attachments.iter().map(Bytes::len).sum();
        let trace = self.trace().map_or(0, TraceContext::size);
        self.name.len() + self.payload.json.len() + attachments + trace
    }
}

impl InboundPayload {
    /// Creates a payload of JSON alone.
    pub fn json_text(json: impl Into<Bytes>) -> Self {
        Self::with_attachments(json, Vec::new())
    }

    /// Creates a payload of JSON with the bytes that its placeholders stand for.
    pub fn with_attachments(json: impl Into<Bytes>, attachments: Vec<Bytes>) -> Self {
        Self { kind: InboundKind::Event, json: json.into(), attachments }
    }

    /// Returns the JSON text, or the raw message.
    pub fn bytes(&self) -> &Bytes {
        &self.json
    }

    /// Returns the attached bytes.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Returns the payload as a value.
    ///
    /// # Errors
    /// A [`HandlerError`] with code `invalid_payload` that says why the payload does not fit the
    /// type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_slice(&self.json).map_err(HandlerError::from)
    }
}

impl From<InboundPayload> for Payload {
    /// Returns the same payload for sending: as an answer, or to pass it on. A raw text becomes a
    /// JSON string, a raw binary message stays bytes.
    fn from(payload: InboundPayload) -> Self {
        let InboundPayload { kind, json, attachments } = payload;
        match kind {
            InboundKind::RawBinary => Self::Binary(json),
            InboundKind::RawText => {
                Self::Json(serde_json::Value::from(String::from_utf8_lossy(&json)).to_string().into())
            }
            InboundKind::Event if attachments.is_empty() => Self::Json(json),
            InboundKind::Event => Self::Attached { json, attachments: attachments.into() },
        }
    }
}

impl From<Payload> for InboundPayload {
    /// Returns the payload that the other conversion was given: an answer that another node passes
    /// on.
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Binary(bytes) => Inbound::raw_binary(bytes).payload,
            Payload::Json(json) => Self::json_text(json),
            Payload::Attached { json, attachments } => Self::with_attachments(json, attachments.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_messages_become_valid_payloads() {
        let payload = |inbound: Inbound| Payload::from(inbound.payload);
        assert_eq!(payload(Inbound::raw_text("a\n\"b")), Payload::Json(r#""a\n\"b""#.into()));
        assert_eq!(payload(Inbound::raw_binary("a")), Payload::Binary("a".into()));
        assert_eq!(payload(Inbound::new("e", "[1]")), Payload::Json("[1]".into()));
    }
}
