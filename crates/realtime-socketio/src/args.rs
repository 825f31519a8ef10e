use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide_core::Value;

/// What a client's event or answer carries.
///
/// No argument is `null`, one is itself, several are one array. Bytes stand in the JSON as
/// `{"_placeholder":true,"num":N}`, N being their place among the attachments, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// JSON text: well-formed, of any depth.
    pub(crate) json: Bytes,
    /// The bytes beside it.
    pub(crate) attachments: Vec<Bytes>,
}

/// A packet could not be read.
#[derive(Debug, thiserror::Error)]
#[error("malformed packet: {0}")]
pub(crate) struct MalformedPacket(&'static str);

/// Reads `["name", argument, …]`.
pub(crate) fn read_event(value: Value) -> Result<(String, Arguments), MalformedPacket> {
    let (text, attachments) = parts(value)?;
    let mut items = items(&text)?.into_iter();
    let name = items.next().ok_or(MalformedPacket("an event without a name"))?;
    let name = serde_json::from_str(name.get()).map_err(|_| MalformedPacket("a name that is no string"))?;
    Ok((name, Arguments { json: join(items.collect()), attachments }))
}

/// Reads `[argument, …]`.
pub(crate) fn read_ack(value: Value) -> Result<Arguments, MalformedPacket> {
    let (text, attachments) = parts(value)?;
    Ok(Arguments { json: join(items(&text)?), attachments })
}

/// The bytes of a packet, attachments included.
pub(crate) fn size_of(value: &Value) -> usize {
    match value {
        Value::Str(text, attachments) => text.len() + attachments.iter().flatten().map(Bytes::len).sum::<usize>(),
        Value::Bytes(bytes) => bytes.len(),
    }
}

fn parts(value: Value) -> Result<(socketioxide_core::Str, Vec<Bytes>), MalformedPacket> {
    let (text, attachments): (_, Vec<Bytes>) = match value {
        Value::Str(text, attachments) => (text, attachments.map(VecDeque::into).unwrap_or_default()),
        Value::Bytes(_) => return Err(MalformedPacket("not the common parser's format")),
    };
    if !attachments.is_empty() {
        let json = serde_json::from_str(&text).map_err(|_| MalformedPacket("not a list"))?;
        if !placeholders_fit(&json, attachments.len()) {
            return Err(MalformedPacket("a placeholder without its attachment"));
        }
    }
    Ok((text, attachments))
}

/// Whether every placeholder stands for an attachment: passed on, another one would end whoever receives it.
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

fn items(text: &str) -> Result<Vec<&RawValue>, MalformedPacket> {
    serde_json::from_str(text).map_err(|_| MalformedPacket("not a list"))
}

/// Copies, so that a waiting event does not keep the read buffer alive.
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
    fn none_is_null_one_is_itself_several_are_an_array() {
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
    fn attachments_stay_beside_the_text() {
        let text = r#"["up",{"_placeholder":true,"num":1},{"in":{"_placeholder":true,"num":0}}]"#;
        let (_, arguments) = read_event(value(text, &[b"zero", b"one"])).unwrap();
        assert_eq!(arguments.json, text.replacen(r#""up","#, "", 1));
        assert_eq!(arguments.attachments, ["zero", "one"]);
    }

    #[test]
    fn a_placeholder_names_an_attachment_there_is() {
        for num in ["2", "-1", "0.5", "\"0\"", "null"] {
            let text = format!(r#"["up",[{{"a":{{"_placeholder":true,"num":{num}}}}}]]"#);
            assert!(read_event(value(&text, &[b"zero", b"one"])).is_err(), "{num}");
            assert!(read_ack(value(&text, &[b"zero", b"one"])).is_err(), "{num}");
            // Without attachments nobody takes it for a placeholder.
            assert!(read_event(value(&text, &[])).is_ok(), "{num}");
        }
        assert!(read_event(value(r#"["up",{"_placeholder":false}]"#, &[b"zero"])).is_ok());
    }

    #[test]
    fn names_may_be_escaped() {
        assert_eq!(read_event(value(r#"["\u00e4\n"]"#, &[])).unwrap().0, "ä\n");
    }

    #[test]
    fn what_is_no_list_with_a_name_is_an_error() {
        for text in ["", "{}", "[]", "[1]", "[\"a\"", "[\"a\",]", "[\"a\",nul]", "[\"a\"]x"] {
            assert!(read_event(value(text, &[])).is_err(), "{text}");
        }
    }
}
