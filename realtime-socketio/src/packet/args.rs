use std::collections::VecDeque;

use bytes::Bytes;
use realtime_core::HandlerError;
use realtime_core::spi::{check_depth, replace_lone_surrogates};
use serde_json::value::RawValue;
use socketioxide_core::Value;

use crate::packet::rewrite;

/// Arguments of a client's event or answer.
///
/// No argument is represented as `null`, one as itself, several as one array. In the JSON an
/// attachment is `{"_placeholder":true,"num":N}` with its index, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// JSON text: well-formed, of any depth, without lone surrogates.
    pub(crate) json: Bytes,
    /// Attachments of the packet.
    pub(crate) attachments: Vec<Bytes>,
}

/// Failure to read a packet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The packet has an id that no answer can carry; the client gets an error, and the session
    /// stays open.
    #[error("the ack id is larger than {}", i64::MAX)]
    AckId,
    /// The packet is not a packet of Socket.IO.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
}

/// Parses `["name", argument, …]`, with the element that [`rewrite`] may have inserted before the
/// name.
pub(crate) fn read_event(value: Value) -> Result<(String, Arguments), Unreadable> {
    let (text, attachments) = parts(value)?;
    let text = replace_lone_surrogates(&text);
    let mut items = items(&text)?.into_iter();
    let mut name = items.next().ok_or(Unreadable::Malformed("an event without a name"))?.get();
    if name == "\"\"" {
        name = items.next().ok_or(Unreadable::Malformed("an event without a name"))?.get();
    }
    let name = match name.as_bytes() {
        // `rewrite` inserts `null` when it removes an invalid id.
        b"null" => return Err(Unreadable::AckId),
        [b'-' | b'0'..=b'9', ..] => name.to_owned(),
        _ => serde_json::from_str(name).map_err(|_| Unreadable::Malformed("a name that is no string"))?,
    };
    Ok((name, Arguments { json: join(items.collect()), attachments }))
}

/// Parses `[argument, …]`.
pub(crate) fn read_ack(value: Value) -> Result<Arguments, Unreadable> {
    let (text, attachments) = parts(value)?;
    let text = replace_lone_surrogates(&text);
    Ok(Arguments { json: join(items(&text)?), attachments })
}

impl Arguments {
    /// Checks the nesting depth, and that every placeholder has its attachment: a placeholder
    /// without one would end the connections of the clients that receive the event.
    pub(crate) fn check(&self, max_depth: usize) -> Result<(), HandlerError> {
        check_depth(&self.json, max_depth)?;
        if self.attachments.is_empty() {
            return Ok(());
        }
        let invalid = |message: &'static str| HandlerError::new("invalid_payload", message);
        // An error here means nesting deeper than serde_json's limit, where the configuration
        // allows more.
        let json = serde_json::from_slice(&self.json).map_err(|_| invalid("the packet could not be read"))?;
        if placeholders_fit(&json, self.attachments.len()) {
            Ok(())
        } else {
            Err(invalid("a placeholder names no attachment"))
        }
    }
}

/// Returns the size of a packet, attachments included.
pub(crate) fn size_of(value: &Value) -> usize {
    match value {
        Value::Str(text, attachments) => {
            text.len() - rewrite::growth_of(text) + attachments.iter().flatten().map(Bytes::len).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.len(),
    }
}

fn parts(value: Value) -> Result<(socketioxide_core::Str, Vec<Bytes>), Unreadable> {
    match value {
        Value::Str(text, attachments) => Ok((text, attachments.map(VecDeque::into).unwrap_or_default())),
        Value::Bytes(_) => Err(Unreadable::Malformed("not the common parser's format")),
    }
}

/// Returns whether every placeholder stands for an attachment.
fn placeholders_fit(json: &serde_json::Value, attachments: usize) -> bool {
    match json {
        serde_json::Value::Array(items) => items.iter().all(|item| placeholders_fit(item, attachments)),
        serde_json::Value::Object(fields) if fields.get("_placeholder") == Some(&true.into()) => {
            fields.get("num").and_then(serde_json::Value::as_u64).is_some_and(|num| num < attachments as u64)
        }
        serde_json::Value::Object(fields) => fields.values().all(|field| placeholders_fit(field, attachments)),
        _ => true,
    }
}

fn items(text: &str) -> Result<Vec<&RawValue>, Unreadable> {
    serde_json::from_str(text).map_err(|_| Unreadable::Malformed("not a list"))
}

/// Joins arguments into one value. Copies them, so that a waiting event does not keep the read
/// buffer alive.
fn join(items: Vec<&RawValue>) -> Bytes {
    match items.as_slice() {
        [] => Bytes::from_static(b"null"),
        [one] => Bytes::copy_from_slice(one.get().as_bytes()),
        [first, rest @ ..] => {
            let mut json = Vec::with_capacity(items.iter().map(|item| item.get().len() + 1).sum::<usize>() + 1);
            json.push(b'[');
            json.extend_from_slice(first.get().as_bytes());
            for item in rest {
                json.push(b',');
                json.extend_from_slice(item.get().as_bytes());
            }
            json.push(b']');
            json.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, attachments: &[&'static [u8]]) -> Value {
        let attachments: VecDeque<_> = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        Value::Str(text.to_owned().into(), (!attachments.is_empty()).then_some(attachments))
    }

    #[test]
    fn arguments_are_joined_into_one_value() {
        for (text, json) in [
            (r#"["a"]"#, "null"),
            (r#"[ "a" , {"x": [1]} ]"#, r#"{"x": [1]}"#),
            (r#"["a",1,"b,]",null]"#, r#"[1,"b,]",null]"#),
        ] {
            let (name, arguments) = read_event(value(text, &[])).unwrap();
            assert_eq!(name, "a");
            assert_eq!(arguments.json, json);
        }
        assert_eq!(read_ack(value("[]", &[])).unwrap().json, "null");
        assert_eq!(read_ack(value("[1,2]", &[])).unwrap().json, "[1,2]");
    }

    #[test]
    fn attachments_are_kept_separately() {
        let text = r#"["up",{"_placeholder":true,"num":1},{"in":{"_placeholder":true,"num":0}}]"#;
        let (_, arguments) = read_event(value(text, &[b"zero", b"one"])).unwrap();
        assert_eq!(arguments.json, text.replacen(r#""up","#, "", 1));
        assert_eq!(arguments.attachments, ["zero", "one"]);
    }

    #[test]
    fn placeholder_without_attachment_is_an_error() {
        for num in ["2", "-1", "0.5", "\"0\"", "null"] {
            let text = format!(r#"["up",[{{"a":{{"_placeholder":true,"num":{num}}}}}]]"#);
            let checked = |attachments: &[&'static [u8]]| read_ack(value(&text, attachments)).unwrap().check(64);
            assert_eq!(checked(&[b"zero", b"one"]).unwrap_err().code(), "invalid_payload", "{num}");
            // In a packet without attachments it is an ordinary object.
            assert!(checked(&[]).is_ok(), "{num}");
        }
        let checked = |text: &str| read_ack(value(text, &[b"zero"])).unwrap().check(1000);
        assert!(checked(r#"["up",{"_placeholder":false}]"#).is_ok());
        let deep = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert!(checked(&deep(100)).is_ok());
        assert_eq!(checked(&deep(900)).unwrap_err().code(), "invalid_payload");
        assert_eq!(checked(&deep(1100)).unwrap_err().code(), "too_deep");
    }

    #[test]
    fn event_name_may_be_escaped_or_a_number() {
        for (name, read) in [(r#""\u00e4\n""#, "ä\n"), (r#""\ud83d""#, "\u{fffd}"), ("7", "7"), ("\"\"", "")] {
            assert_eq!(read_event(value(&format!(r#"["",{name},1]"#), &[])).unwrap().0, read);
        }
        assert!(matches!(read_event(value(r#"["",null,"a"]"#, &[])), Err(Unreadable::AckId)));
    }

    #[test]
    fn lone_surrogates_are_replaced() {
        assert_eq!(read_event(value(r#"["a","\ud83d"]"#, &[])).unwrap().1.json, r#""\ufffd""#);
        assert_eq!(read_ack(value(r#"["\ud83d"]"#, &[b"x"])).unwrap().json, r#""\ufffd""#);
    }

    #[test]
    fn event_without_a_list_or_name_is_an_error() {
        for text in ["", "{}", "[]", "[true]", "[\"a\"", "[\"a\",]", "[\"a\",nul]", "[\"a\"]x"] {
            assert!(read_event(value(text, &[])).is_err(), "{text}");
        }
    }
}
