use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor, Registration, Take};
use realtime_core::{Event, HandlerError, Payload};
use realtime_testkit::conformance::Received;
use serde_json::{Value, json};

/// A codec with one JSON object per frame: `name`, `payload`, `cursor`, `ack`.
///
/// Panics for an event with the name `broken`.
#[derive(Clone, Default)]
pub struct LineCodec {
    /// The function to call while an event with the name `nested` is encoded.
    pub nested: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
    /// The number of encoded events.
    pub encoded: Arc<AtomicUsize>,
}

impl Codec for LineCodec {
    type Frame = Bytes;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Bytes {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        assert!(event.name() != "broken", "this codec panics");
        if let Some(nested) = self.nested.get().filter(|_| event.name() == "nested") {
            nested();
        }
        frame(event.name(), payload(event.payload()), cursor, None)
    }

    fn ask(&self, event: &Event, ack: u64) -> Bytes {
        frame(event.name(), payload(event.payload()), None, Some(ack))
    }

    fn ack(&self, ack: u64, value: &Payload) -> Option<Bytes> {
        Some(frame("ack", payload(value), None, Some(ack)))
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Bytes> {
        Some(frame("error", json!(error), None, ack))
    }

    fn cursor(&self, cursor: Cursor) -> Bytes {
        frame("cursor", Value::Null, Some(cursor), None)
    }
}

fn payload(payload: &Payload) -> Value {
    serde_json::from_slice(payload.bytes()).unwrap()
}

fn frame(name: &str, payload: Value, cursor: Option<Cursor>, ack: Option<u64>) -> Bytes {
    let cursor = cursor.map(|cursor| cursor.to_string());
    Bytes::from(json!({"name": name, "payload": payload, "cursor": cursor, "ack": ack}).to_string())
}

/// Takes and parses all queued frames.
pub fn take_all(registration: &Registration<LineCodec>) -> Vec<Received> {
    let mut frames = Vec::new();
    while matches!(registration.try_take(usize::MAX, &mut frames), Take::Frames | Take::Last) {}
    frames.iter().map(parse).collect()
}

/// Parses a frame of [`LineCodec`].
pub fn parse(frame: &Bytes) -> Received {
    let mut value: Value = serde_json::from_slice(frame).unwrap();
    let payload = value["payload"].take();
    Received::new(value["name"].as_str().unwrap(), payload)
        .with_cursor(value["cursor"].as_str().map(str::to_owned))
        .with_ack(value["ack"].as_u64())
}
