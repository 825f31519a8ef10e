use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::values::error::{Error, Result};
use crate::values::name::{check_event_name, check_name};
use crate::values::trace_context::TraceContext;

/// The payload of an event; bytes are shared, a clone copies nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// One JSON value, serialised.
    Json(Bytes),
    /// Any bytes.
    Binary(Bytes),
    /// One JSON value with bytes in it, represented as `{"_placeholder":true,"num":N}`, N being
    /// their index in the list (as in the Socket.IO protocol, revision 5).
    Attached {
        /// The JSON text.
        json: Bytes,
        /// The bytes.
        attachments: Arc<[Bytes]>,
    },
}

impl Payload {
    /// Serialises a value, once.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] when the value has no JSON form.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        serde_json::to_vec(value)
            .map(|bytes| Self::Json(bytes.into()))
            .map_err(|error| Error::InvalidPayload(error.into()))
    }

    /// Returns the JSON text, or the bytes of [`Payload::Binary`].
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) | Self::Attached { json: bytes, .. } => bytes,
        }
    }

    /// Returns the bytes in addition to the JSON text.
    pub fn attachments(&self) -> &[Bytes] {
        match self {
            Self::Json(_) | Self::Binary(_) => &[],
            Self::Attached { attachments, .. } => attachments,
        }
    }

    /// Returns the size in bytes, attachments included.
    pub fn size(&self) -> usize {
        self.bytes().len() + self.attachments().iter().map(Bytes::len).sum::<usize>()
    }

    /// Returns whether the payload holds bytes, which JSON cannot.
    pub fn is_binary(&self) -> bool {
        !matches!(self, Self::Json(_))
    }
}

/// A name and a payload to deliver; durable unless made [`Event::as_volatile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    name: Arc<str>,
    payload: Payload,
    volatile: bool,
    idempotency_key: Option<Arc<str>>,
    latest_key: Option<Arc<str>>,
    trace: Option<Arc<TraceContext>>,
}

impl Event {
    /// Creates an event whose payload is this value as JSON, serialised here and never again.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReservedName`], [`Error::InvalidPayload`].
    pub fn json<T: Serialize + ?Sized>(name: impl AsRef<str>, value: &T) -> Result<Self> {
        Self::with_payload(name, Payload::json(value)?)
    }

    /// Creates an event whose payload is bytes.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReservedName`].
    pub fn binary(name: impl AsRef<str>, bytes: impl Into<Bytes>) -> Result<Self> {
        Self::with_payload(name, Payload::Binary(bytes.into()))
    }

    /// Creates an event whose payload is a JSON value with bytes in it, see [`Payload::Attached`].
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReservedName`]; [`Error::InvalidPayload`] when the value
    /// has no JSON form.
    pub fn attached<T: Serialize + ?Sized>(
        name: impl AsRef<str>,
        value: &T,
        attachments: impl Into<Arc<[Bytes]>>,
    ) -> Result<Self> {
        let json = Payload::json(value)?.bytes().clone();
        Self::with_payload(name, Payload::Attached { json, attachments: attachments.into() })
    }

    /// Creates an event whose payload is JSON text already.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReservedName`]; [`Error::InvalidPayload`] when the text
    /// is not one JSON value.
    pub fn raw_json(name: impl AsRef<str>, json: impl Into<Bytes>) -> Result<Self> {
        let json = json.into();
        serde_json::from_slice::<&serde_json::value::RawValue>(&json)
            .map_err(|error| Error::InvalidPayload(error.into()))?;
        Self::with_payload(name, Payload::Json(json))
    }

    /// Creates an event with this payload, whose JSON text, if there is one, is checked.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReservedName`]; [`Error::InvalidPayload`] when the text
    /// is not one JSON value.
    pub fn from_payload(name: impl AsRef<str>, payload: Payload) -> Result<Self> {
        if let Payload::Json(json) | Payload::Attached { json, .. } = &payload {
            serde_json::from_slice::<&serde_json::value::RawValue>(json)
                .map_err(|error| Error::InvalidPayload(error.into()))?;
        }
        Self::with_payload(name, payload)
    }

    /// Makes the event volatile: it skips the log, is never replayed, and is dropped for
    /// connections that are behind.
    #[must_use]
    pub fn as_volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sets the idempotency key: within the window's age after the first event with this key over
    /// the same providers, the event is not delivered again, and the receipt has the first one's id
    /// and position ([`crate::Receipt::repeated`]). The log decides this at the append, for all
    /// nodes. The key therefore needs the log: a volatile event, an ask or an event for one
    /// connection with a key is rejected when it is sent ([`Error::Unsupported`]).
    ///
    /// An event with another target, name or payload and the same key is rejected
    /// ([`Error::KeyReused`]): where clients choose keys, put the tenant or the user into them. A
    /// log remembers a bounded number of keys ([`crate::MemoryBackplane::with_keys`]).
    ///
    /// A key that breaks the rules of names is rejected when the event is sent
    /// ([`Error::InvalidName`]).
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl AsRef<str>) -> Self {
        self.idempotency_key = Some(key.as_ref().into());
        self
    }

    /// Makes the event one of a series of which only the newest matters (a price, a progress, a
    /// position on a map): a connection that catches up gets it only if no newer event with the
    /// same key and the same target was there for it when it began to read what it missed.
    ///
    /// Connections that are live get every one. A connection that never catches up reads in passes,
    /// each over the events that arrived during the previous one, and gets the newest of each
    /// series: never none, however fast the series is renewed, and never one that is older than the
    /// window. A volatile event, an ask or an event for one connection with such a key is rejected
    /// when it is sent ([`Error::Unsupported`]), since no client catches up with those, and so is a
    /// key that breaks the rules of names ([`Error::InvalidName`]).
    #[must_use]
    pub fn with_latest_key(mut self, key: impl AsRef<str>) -> Self {
        self.latest_key = Some(key.as_ref().into());
        self
    }

    /// Sets the trace that the event belongs to, which its deliveries follow on every node; one
    /// that was stored with the event in a database, for instance. By default that of the span in
    /// which the event is sent, if the service has a [`Propagator`](crate::Propagator).
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.set_trace(trace);
        self
    }

    pub(crate) fn set_trace(&mut self, trace: TraceContext) {
        self.trace = Some(Arc::new(trace));
    }

    /// Returns the trace that the event belongs to, if it is known.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the payload.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns whether the event is volatile.
    pub fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// Returns the idempotency key, if there is one.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Returns the key of the series of which only the newest event matters, if there is one.
    pub fn latest_key(&self) -> Option<&Arc<str>> {
        self.latest_key.as_ref()
    }

    /// Checks the keys; the name was checked when the event was created. Every sender calls this
    /// first.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when a key breaks the rules of names.
    pub fn check(&self) -> Result<()> {
        self.idempotency_key().map_or(Ok(()), |key| check_name("idempotency key", key))?;
        self.latest_key().map_or(Ok(()), |key| check_name("latest key", key))
    }

    /// Creates an event of the protocol itself (`connected`, `lost`, …), whose name is reserved.
    pub(crate) fn protocol<T: Serialize + ?Sized>(name: &'static str, value: &T) -> Self {
        let payload = Payload::json(value).unwrap_or_else(|_| Payload::Json(Bytes::from_static(b"null")));
        Self::plain(name.into(), payload)
    }

    /// Restores an event from an envelope; its name was checked when it was created.
    pub(crate) fn restored(name: Arc<str>, payload: Payload, volatile: bool, latest_key: Option<Arc<str>>) -> Self {
        Self { volatile, latest_key, ..Self::plain(name, payload) }
    }

    fn with_payload(name: impl AsRef<str>, payload: Payload) -> Result<Self> {
        let name = name.as_ref();
        check_event_name(name)?;
        Ok(Self::plain(name.into(), payload))
    }

    fn plain(name: Arc<str>, payload: Payload) -> Self {
        Self { name, payload, volatile: false, idempotency_key: None, latest_key: None, trace: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_must_be_one_json_value() {
        assert!(Event::raw_json("a", "{\"b\":\n1}").is_ok());
        for text in ["", "{", "1 2", "nul"] {
            assert!(matches!(Event::raw_json("a", text), Err(Error::InvalidPayload(_))), "{text:?}");
        }
    }

    #[test]
    fn a_value_without_json_form_is_an_error() {
        let map = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Event::json("a", &map), Err(Error::InvalidPayload(_))));
    }
}
