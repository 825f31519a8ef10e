use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;

/// A decoded event from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbound {
    /// The event's name, as the client sent it.
    pub name: Arc<str>,
    /// What it carries.
    pub payload: InboundPayload,
    /// The client's number for the answer, if it wants one.
    pub ack: Option<u64>,
}

/// What an inbound event carries: JSON, and bytes beside it where the transport has them.
///
/// Bytes stand in the JSON as `{"_placeholder":true,"num":N}`, N being their place in
/// [`InboundPayload::attachments`] (as in the Socket.IO protocol, revision 5). Several arguments are one array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundPayload {
    json: Bytes,
    attachments: Vec<Bytes>,
}

impl Inbound {
    /// An event with a JSON payload, as a transport or a test makes it.
    pub fn new(name: impl Into<Arc<str>>, json: impl Into<Bytes>) -> Self {
        Self { name: name.into(), payload: InboundPayload::json_text(json), ack: None }
    }

    /// The same event, to be answered with this number.
    pub fn with_ack(mut self, ack: u64) -> Self {
        self.ack = Some(ack);
        self
    }

    /// Checks the name that a client gave it: 1–256 bytes, no control characters, none of [`crate::spi::RESERVED_EVENTS`] but
    /// `subscribe` and `unsubscribe`.
    ///
    /// # Errors
    /// What the client is told, with code `invalid_name` or `reserved_name`.
    pub fn check_name(&self) -> Result<(), HandlerError> {
        // The name is the client's own: it may know which ones are reserved.
        crate::values::name::check_inbound_name(&self.name)
            .map_err(|error| HandlerError::new(error.code(), error.to_string()))
    }

    /// Bytes it stands for in queues.
    pub fn size(&self) -> usize {
        let attachments: usize = self.payload.attachments.iter().map(Bytes::len).sum();
        self.name.len() + self.payload.json.len() + attachments
    }
}

impl InboundPayload {
    /// JSON alone.
    pub fn json_text(json: impl Into<Bytes>) -> Self {
        Self { json: json.into(), attachments: Vec::new() }
    }

    /// JSON with the bytes its placeholders stand for.
    pub fn with_attachments(json: impl Into<Bytes>, attachments: Vec<Bytes>) -> Self {
        Self { json: json.into(), attachments }
    }

    /// The JSON text.
    pub fn bytes(&self) -> &Bytes {
        &self.json
    }

    /// The bytes beside it.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The payload as a value.
    ///
    /// # Errors
    /// A [`HandlerError`] with code `invalid_payload` that says what does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        serde_json::from_slice(&self.json).map_err(HandlerError::from)
    }
}

impl From<InboundPayload> for Payload {
    /// The same payload for the way out: to answer with it, or to pass it on.
    fn from(payload: InboundPayload) -> Self {
        let InboundPayload { json, attachments } = payload;
        if attachments.is_empty() { Self::Json(json) } else { Self::Attached { json, attachments: attachments.into() } }
    }
}
