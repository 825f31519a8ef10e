//! Text messages of a WebSocket's client.

use realtime_core::spi::replace_lone_surrogates;
use realtime_core::{Inbound, TraceContext};
use realtime_ws::fuzzing::envelope;
use serde_json::Value;

use crate::targets::depth;

const CODES: [&str; 5] = ["invalid_envelope", "invalid_json", "invalid_name", "reserved_name", "too_deep"];
/// The longest message of an error, in bytes: it may name what the client sent.
const MAX_MESSAGE: usize = 1024;

/// The first byte: whether there is a handler of other texts, and the nesting that is allowed.
pub(crate) fn run(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (raw, max_depth) = (first & 1 != 0, 2 + usize::from(first >> 1) % 64);
    match envelope(text, max_depth, raw) {
        Ok(inbound) if inbound.is_raw() => {
            assert!(raw && inbound.payload.bytes() == text.as_bytes() && inbound.ack.is_none());
            assert!(envelope(text, max_depth, false).is_err(), "an envelope is passed as a text");
        }
        Ok(inbound) => {
            check(text, max_depth, &inbound);
            assert_eq!(envelope(text, max_depth, !raw).as_ref(), Ok(&inbound));
        }
        Err(error) => {
            assert!(CODES.contains(&error.code()), "{}", error.code());
            assert!(error.message().len() <= MAX_MESSAGE, "{} bytes", error.message().len());
        }
    }
}

fn check(text: &str, max_depth: usize, inbound: &Inbound) {
    let name = &*inbound.name;
    assert!(matches!(name.len(), 1..=256) && !name.chars().any(char::is_control), "{name:?}");
    assert!(inbound.payload.attachments().is_empty());
    // A missing payload is `null`.
    assert!(inbound.payload.bytes().len() <= text.len().max(4));
    assert!(inbound.ack.is_none_or(|ack| ack < 1 << 53));
    let payload = std::str::from_utf8(inbound.payload.bytes()).expect("UTF-8");
    // A number that no value holds is passed on as it is.
    if let (Ok(value), Ok(read)) =
        (serde_json::from_str::<Value>(&replace_lone_surrogates(text)), serde_json::from_str::<Value>(payload))
    {
        assert_eq!(value["type"], name);
        assert_eq!(value["payload"], read);
        assert_eq!(value["ack"].as_u64(), inbound.ack);
        let parent = value["traceparent"].as_str().unwrap_or_default();
        let is_named = |trace: &TraceContext| parent.get(3..52) == trace.traceparent().get(3..52);
        assert!(inbound.trace().is_none_or(is_named), "another trace");
        assert!(depth(&value) <= max_depth, "nested deeper than {max_depth}");
    }
    let ack = inbound.ack.map_or(String::new(), |ack| format!(",\"ack\":{ack}"));
    let trace = inbound.trace().map_or(String::new(), |trace| {
        assert!(trace.state().is_none_or(|state| state.len() <= 512));
        format!(",\"traceparent\":\"{trace}\",\"tracestate\":{}", Value::from(trace.state()))
    });
    let again = format!("{{\"type\":{},\"payload\":{payload}{ack}{trace}}}", Value::from(name));
    assert_eq!(envelope(&again, max_depth, false).as_ref(), Ok(inbound), "{again}");
}
