use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use realtime_core::spi::one_line_json;
use socketioxide_core::packet::Packet;
use socketioxide_core::{Str, Value};

/// One value of a packet: JSON text, unchanged, or bytes that are sent as an attachment.
#[derive(Clone, Debug)]
pub(crate) enum Part<'a> {
    /// JSON text with placeholders for these bytes, numbered from zero; only as the first part with
    /// bytes.
    Attached(&'a str, &'a [Bytes]),
    /// Any bytes.
    Binary(Bytes),
    /// One JSON value, serialised.
    Json(&'a str),
}

/// Packet of the main namespace, encoded once for all its receivers; a clone shares the bytes.
///
/// The text is the packet's JSON array. socketioxide prepends the packet type and the ack id, which
/// costs one copy of the text for each receiver and no serialisation.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    text: Str,
    attachments: Option<VecDeque<Bytes>>,
    ack: Option<i64>,
    len: usize,
}

impl Encoded {
    /// Encodes an event: its name, its arguments, and the cursor, if there is one, as the last
    /// argument.
    pub(crate) fn event(name: &str, arguments: &[Part<'_>], cursor: Option<&str>) -> Self {
        let mut text = String::with_capacity(text_len(arguments) + name.len() + cursor.map_or(0, str::len) + 16);
        text.push('[');
        push_string(&mut text, name);
        let attachments = push_parts(&mut text, arguments, true);
        if let Some(cursor) = cursor {
            text.push(',');
            push_string(&mut text, cursor);
        }
        text.push(']');
        Self::new(text, attachments, None)
    }

    /// Encodes the answer to a client's event with this ack id.
    pub(crate) fn ack(id: i64, arguments: &[Part<'_>]) -> Self {
        let mut text = String::with_capacity(text_len(arguments) + 8);
        text.push('[');
        let attachments = push_parts(&mut text, arguments, false);
        text.push(']');
        Self::new(text, attachments, Some(id))
    }

    /// Returns the number of bytes for one receiver: text and attachments.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the JSON array, with placeholders for attachments.
    pub(crate) fn text(&self) -> &str {
        self.text.as_str()
    }

    /// Returns the packet for socketioxide.
    pub(crate) fn packet(&self) -> Packet {
        let value = Value::Str(self.text.clone(), self.attachments.clone());
        match self.ack {
            Some(id) => Packet::ack("/", value, id),
            None => Packet::event("/", value),
        }
    }

    fn new(text: String, attachments: VecDeque<Bytes>, ack: Option<i64>) -> Self {
        let len = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
        let attachments = (!attachments.is_empty()).then_some(attachments);
        Self { text: Str::from(text), attachments, ack, len }
    }
}

fn text_len(parts: &[Part<'_>]) -> usize {
    parts
        .iter()
        .map(|part| match part {
            Part::Json(json) => json.len() + 1,
            Part::Binary(_) => 40,
            Part::Attached(json, _) => json.len() + 1,
        })
        .sum()
}

fn push_parts(text: &mut String, parts: &[Part<'_>], comma_first: bool) -> VecDeque<Bytes> {
    let mut attachments = VecDeque::new();
    for (index, part) in parts.iter().enumerate() {
        if comma_first || index > 0 {
            text.push(',');
        }
        match part {
            Part::Json(json) => push_json(text, json),
            Part::Attached(json, bytes) => {
                push_json(text, json);
                attachments.extend(bytes.iter().cloned());
            }
            Part::Binary(bytes) => {
                text.push_str("{\"_placeholder\":true,\"num\":");
                text.push_str(&attachments.len().to_string());
                text.push('}');
                attachments.push_back(bytes.clone());
            }
        }
    }
    attachments
}

fn push_json(text: &mut String, json: &str) {
    match one_line_json(json.as_bytes()) {
        Cow::Borrowed(_) => text.push_str(json),
        // Escaping keeps the text UTF-8.
        Cow::Owned(escaped) => text.push_str(std::str::from_utf8(&escaped).unwrap_or("null")),
    }
}

fn push_string(text: &mut String, string: &str) {
    // Names and cursors rarely have anything to escape.
    if string.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.push('"');
        text.push_str(string);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(string).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketioxide_core::packet::PacketData;

    #[test]
    fn event_is_name_arguments_and_cursor() {
        let event = Encoded::event("a\"b", &[Part::Json("{\"x\":1}"), Part::Json("2")], Some("c-1"));
        assert_eq!(event.text(), r#"["a\"b",{"x":1},2,"c-1"]"#);
        assert_eq!(event.len(), event.text().len());
        assert!(matches!(event.packet().inner, PacketData::Event(_, None)));
    }

    #[test]
    fn bytes_become_placeholders_in_order() {
        let parts =
            [Part::Binary(Bytes::from_static(b"one")), Part::Json("null"), Part::Binary(Bytes::from_static(b"two"))];
        let event = Encoded::event("b", &parts, None);
        assert_eq!(event.text(), r#"["b",{"_placeholder":true,"num":0},null,{"_placeholder":true,"num":1}]"#);
        assert_eq!(event.len(), event.text().len() + 6);
        let PacketData::BinaryEvent(Value::Str(_, Some(attachments)), None) = event.packet().inner else {
            panic!("not a binary event");
        };
        assert_eq!(attachments, ["one", "two"]);
    }

    #[test]
    fn event_names_are_escaped_as_json_strings() {
        for name in ["", " ", "plain", "ü😀", "a\"b", "\\", "\n", "\u{1f}", "\u{7f}"] {
            let text = Encoded::event(name, &[], None).text().to_owned();
            assert_eq!(text, serde_json::json!([name]).to_string());
        }
    }

    #[test]
    fn unicode_line_separators_are_escaped() {
        let json = "\"a\u{2028}\u{2029}\u{85}\"";
        let escaped = r#""a\u2028\u2029\u0085""#;
        assert_eq!(Encoded::event("n", &[Part::Json(json)], None).text(), format!(r#"["n",{escaped}]"#));
        assert_eq!(Encoded::event("n", &[Part::Attached(json, &[])], None).text(), format!(r#"["n",{escaped}]"#));
        assert_eq!(Encoded::ack(7, &[Part::Json(json)]).text(), format!("[{escaped}]"));
    }

    #[test]
    fn ack_has_the_clients_id() {
        assert_eq!(Encoded::ack(7, &[]).text(), "[]");
        let ack = Encoded::ack(7, &[Part::Json("1"), Part::Json("2")]);
        assert_eq!(ack.text(), "[1,2]");
        assert!(matches!(ack.packet().inner, PacketData::EventAck(_, 7)));
        assert!(matches!(Encoded::ack(8, &[Part::Binary(Bytes::new())]).packet().inner, PacketData::BinaryAck(_, 8)));
    }
}
