use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor};
use realtime_core::{Event, HandlerError, Payload};
use realtime_testkit::conformance::Received;
use serde_json::{Value, json};

/// One JSON object a frame: `name`, `payload`, `cursor`, `ack`. It panics over an event that is named `broken`.
#[derive(Clone, Default)]
pub struct LineCodec {
    /// Called while an event that is named `nested` is encoded.
    pub nested: Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>,
    /// How many events were encoded.
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

pub fn parse(frame: &Bytes) -> Received {
    let mut value: Value = serde_json::from_slice(frame).unwrap();
    let payload = value["payload"].take();
    Received::new(value["name"].as_str().unwrap(), payload)
        .with_cursor(value["cursor"].as_str().map(str::to_owned))
        .with_ack(value["ack"].as_u64())
}
