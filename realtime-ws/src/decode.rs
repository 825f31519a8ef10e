//! The envelope of a client's text message: text in, values out.

use std::borrow::Cow;

use bytes::Bytes;
use realtime_core::spi::{check_depth, describe_json_error, replace_lone_surrogates};
use realtime_core::{HandlerError, Inbound, InboundPayload, TraceContext};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest number that all clients can represent (`Number.MAX_SAFE_INTEGER`).
const MAX_ACK: u64 = (1 << 53) - 1;

/// A valid text message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// An answer to an ask.
    Ack(u64, InboundPayload),
    /// An event for the handlers; also `subscribe` and `unsubscribe`.
    Event(Inbound),
    /// A text outside the envelope, for the handler of such texts.
    Text,
}

/// An invalid text message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) error: HandlerError,
    /// The number for the answer, if the client wants one.
    pub(crate) ack: Option<u64>,
    /// The number of the ask that the message answers.
    pub(crate) ask: Option<u64>,
}

/// Decodes a text; with `raw`, a text that is no envelope is [`Decoded::Text`] and no error.
pub(crate) fn decode(text: &str, max_depth: usize, raw: bool) -> Result<Decoded, Rejected> {
    let text = &*replace_lone_surrogates(text);
    let envelope = match envelope(text) {
        Ok(envelope) => envelope,
        Err(_) if raw => return Ok(Decoded::Text),
        Err(error) => return Err(check_depth(text.as_bytes(), max_depth).err().unwrap_or(error).into()),
    };
    check_depth(text.as_bytes(), max_depth).map_err(|error| {
        let ask = envelope.ack.filter(|_| envelope.name == "ack").and_then(|ack| number(ack).ok());
        Rejected { ask, ..error.into() }
    })?;
    let ack = envelope.ack.map(number).transpose()?;
    let rejected = |error| Rejected { error, ack, ask: None };
    let name = envelope.name;
    // Copied: a slice of what was read would keep the whole read buffer.
    let json =
        envelope.payload.map_or(Bytes::from_static(b"null"), |json| Bytes::copy_from_slice(json.get().as_bytes()));
    if name == "ack" {
        let Some(ack) = ack else {
            return Err(invalid_envelope("an ack without a number").into());
        };
        return Ok(Decoded::Ack(ack, InboundPayload::json_text(json)));
    }
    let inbound = Inbound::new(name, json).with_trace(trace(envelope.traceparent, envelope.tracestate));
    inbound.check_name().map_err(rejected)?;
    Ok(Decoded::Event(match ack {
        Some(ack) => inbound.with_ack(ack),
        None => inbound,
    }))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ack: Option<&'a RawValue>,
    #[serde(borrow, default)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tracestate: Option<&'a RawValue>,
}

/// The longest `traceparent` and `tracestate` that are read, as JSON.
const MAX_TRACE: usize = 1024;

/// Returns the trace that a client names; anything but a valid one is ignored.
fn trace(parent: Option<&RawValue>, state: Option<&RawValue>) -> Option<TraceContext> {
    let text = |field: &RawValue| {
        let json = Some(field.get()).filter(|json| json.len() <= MAX_TRACE)?;
        serde_json::from_str::<String>(json).ok()
    };
    let state = parent.and(state).and_then(text);
    TraceContext::parse(&text(parent?)?, state.as_deref())
}

fn envelope(text: &str) -> Result<Envelope<'_>, HandlerError> {
    let rejected = |error: serde_json::Error| match error.classify() {
        serde_json::error::Category::Data => invalid_envelope(describe_json_error(&error)),
        _ => HandlerError::new("invalid_json", error.to_string()),
    };
    if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return serde_json::from_str(text).map_err(rejected);
    }
    // serde would accept an array of the fields' values too, which is no envelope.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(rejected)?;
    Err(invalid_envelope("not an object"))
}

fn number(ack: &RawValue) -> Result<u64, Rejected> {
    ack.get()
        .parse()
        .ok()
        .filter(|ack| *ack <= MAX_ACK)
        .ok_or_else(|| invalid_envelope("the ack is not a whole number from 0 to 2^53 - 1").into())
}

fn invalid_envelope(reason: impl std::fmt::Display) -> HandlerError {
    HandlerError::new("invalid_envelope", format!("{reason}; expected {{\"type\":\"…\",\"payload\":…,\"ack\":…}}"))
}

impl From<HandlerError> for Rejected {
    fn from(error: HandlerError) -> Self {
        Self { error, ack: None, ask: None }
    }
}

#[cfg(test)]
mod tests {
    use realtime_core::spi::RESERVED_EVENTS;

    use super::*;

    fn code(text: &str) -> (String, Option<u64>) {
        let rejected = decode(text, 64, false).unwrap_err();
        (rejected.error.code().to_owned(), rejected.ack)
    }

    #[test]
    fn envelopes_become_events() {
        let event = |text| match decode(text, 64, false) {
            Ok(Decoded::Event(inbound)) => inbound,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(event(r#"{"type":"a"}"#), Inbound::new("a", "null"));
        assert_eq!(event(r#"{"type":"a","payload":null,"ack":null}"#), Inbound::new("a", "null"));
        assert_eq!(
            event(r#" { "ack" : 7 , "payload" : [ 1 ] , "type" : "a\u00e4" } "#),
            Inbound::new("aä", "[ 1 ]").with_ack(7)
        );
        assert_eq!(
            event(r#"{"type":"a","ack":9007199254740991,"more":{}}"#),
            Inbound::new("a", "null").with_ack(MAX_ACK)
        );
        assert_eq!(event(r#"{"type":"subscribe","payload":{"channel":"x"}}"#).name.as_ref(), "subscribe");
    }

    #[test]
    fn traces_are_read_and_malformed_ones_ignored() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |fields: &str| match decode(&format!(r#"{{"type":"a",{fields}}}"#), 64, false) {
            Ok(Decoded::Event(inbound)) => inbound.trace().cloned(),
            other => panic!("{fields}: {other:?}"),
        };
        let expected = |state| TraceContext::parse(parent, state);
        assert_eq!(read(&format!(r#""traceparent":"{parent}""#)), expected(None));
        assert_eq!(read(&format!(r#""tracestate":"a=\u0062","traceparent":"{parent}""#)), expected(Some("a=b")));
        let long = format!("a={}", "x".repeat(600));
        for state in ["1", "null", "\"=\"", "{}", &format!("\"{long}\""), &format!("\"{}\"", "x".repeat(2000))] {
            assert_eq!(read(&format!(r#""tracestate":{state},"traceparent":"{parent}""#)), expected(None), "{state}");
        }
        let malformed = format!("\"{}\"", parent.to_uppercase());
        for parent in ["1", "null", "{}", "\"\"", &malformed, &format!("\"{}\"", "0".repeat(2000))] {
            assert_eq!(read(&format!(r#""traceparent":{parent},"tracestate":"a=b""#)), None, "{parent}");
        }
    }

    #[test]
    fn acks_become_answers() {
        let decoded = decode(r#"{"type":"ack","ack":7,"payload":{"a":1}}"#, 64, false);
        assert_eq!(decoded, Ok(Decoded::Ack(7, InboundPayload::json_text(r#"{"a":1}"#))));
        assert_eq!(code(r#"{"type":"ack"}"#), ("invalid_envelope".to_owned(), None));
    }

    #[test]
    fn invalid_texts_are_rejected_with_a_code() {
        for text in ["", "{", "nul", "{\"type\":\"a\"} {}", "{'type':'a'}", "[1,", "\u{feff}{\"type\":\"a\"}"] {
            assert_eq!(code(text), ("invalid_json".to_owned(), None), "{text}");
        }
        let shapes = ["1", "null", "\"a\"", "[]", "{}", r#"["a",1,2]"#, r#"{"type":1}"#, r#"{"type":null}"#];
        for text in shapes {
            assert_eq!(code(text), ("invalid_envelope".to_owned(), None), "{text}");
        }
        for ack in ["-1", "1.5", "\"1\"", "{}", "9007199254740992", "18446744073709551615", "1e3"] {
            let text = format!(r#"{{"type":"a","ack":{ack}}}"#);
            assert_eq!(code(&text), ("invalid_envelope".to_owned(), None), "{text}");
        }
        assert_eq!(code(r#"{"type":"a","type":"b"}"#), ("invalid_envelope".to_owned(), None));
    }

    #[test]
    fn lone_surrogate_becomes_a_replacement_character() {
        let decoded = decode(r#"{"type":"cut\ud83d","payload":["\udc00"],"ack":1}"#, 64, true);
        assert_eq!(decoded, Ok(Decoded::Event(Inbound::new("cut\u{fffd}", r#"["\ufffd"]"#).with_ack(1))));
        let decoded = decode(r#"{"type":"ack","ack":7,"payload":"\ud83d"}"#, 64, false);
        assert_eq!(decoded, Ok(Decoded::Ack(7, InboundPayload::json_text(r#""\ufffd""#))));
    }

    #[test]
    fn unreadable_answer_still_names_its_ask() {
        let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
        let rejected = decode(&format!(r#"{{"type":"ack","ack":7,"payload":{deep}}}"#), 64, false).unwrap_err();
        assert_eq!((rejected.error.code(), rejected.ack, rejected.ask), ("too_deep", None, Some(7)));
    }

    #[test]
    fn invalid_and_reserved_names_are_rejected() {
        let long = "x".repeat(257);
        for name in ["", "a\\nb", "a\\rb", "a\\u0000b", "\\u0001text", long.as_str()] {
            let text = format!(r#"{{"type":"{name}","ack":3}}"#);
            assert_eq!(code(&text), ("invalid_name".to_owned(), Some(3)), "{text}");
        }
        for name in RESERVED_EVENTS.into_iter().filter(|name| !["ack", "subscribe", "unsubscribe"].contains(name)) {
            let text = format!(r#"{{"type":"{name}","ack":3}}"#);
            assert_eq!(code(&text), ("reserved_name".to_owned(), Some(3)), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        // The envelope is the first level.
        let inside = |depth| format!(r#"{{"type":"a","payload":{}}}"#, nested(depth));
        assert!(decode(&inside(63), 64, false).is_ok());
        for text in [inside(64), inside(200), nested(200), "[".repeat(100_000)] {
            assert_eq!(code(&text).0, "too_deep");
        }
    }

    #[test]
    fn texts_outside_the_envelope_go_to_the_raw_handler() {
        for text in ["", "hello", "{", "[1]", "{}", r#"{"type":1}"#, &"[".repeat(200)] {
            assert_eq!(decode(text, 64, true), Ok(Decoded::Text), "{text}");
        }
        assert!(matches!(decode(r#"{"type":"a"}"#, 64, true), Ok(Decoded::Event(_))));
        assert!(decode(r#"{"type":"open"}"#, 64, true).is_err());
        assert!(decode(r#"{"type":"a","ack":-1}"#, 64, true).is_err());
    }
}
