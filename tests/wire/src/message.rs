//! Messages of both sides.

use std::borrow::Cow;

use serde_json::Value;

use crate::Result;
use crate::sse::Block;

/// One thing that a client has received, parsed no further than its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// The server has closed the connection in the protocol's way.
    Close,
    /// An event, a reply or a cursor.
    Message(Encoded<'a>),
    /// The server has rejected the connection, with this status or message.
    Refused(Cow<'a, str>),
    /// A `retry:` of an event stream after its first event, in milliseconds. The other transports
    /// have the event `reconnect` for it.
    Retry(u64),
}

/// A message as its transport carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded<'a> {
    /// A block of an event stream.
    Block(Block<'a>),
    /// The JSON envelope of the raw WebSocket transport.
    Envelope(&'a [u8]),
    /// A Socket.IO event.
    Event {
        /// The number to answer with, if it is an ask.
        ack: Option<u64>,
        /// A JSON array: name, data and perhaps a cursor.
        arguments: &'a [u8],
    },
    /// A Socket.IO acknowledgement.
    Reply {
        /// The number of the message that is answered.
        ack: u64,
        /// A JSON array.
        arguments: &'a [u8],
    },
}

/// The parts of a message that can be found without parsing JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// The event's name; `cursor` if it only carries one.
    pub name: &'a str,
    /// Bytes that contain the payload's JSON: the data of a block, the whole envelope, or all
    /// arguments.
    pub data: &'a [u8],
    /// The cursor; empty if there is none.
    pub cursor: &'a str,
}

/// A message from the server, parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// The server has closed the connection in the protocol's way.
    Close,
    /// A cursor without an event.
    Cursor(String),
    /// An event.
    Event {
        /// The name.
        name: String,
        /// The payload.
        data: Value,
        /// The event's cursor, if it has one.
        cursor: Option<String>,
        /// The number to answer with, if it is an ask.
        ack: Option<u64>,
    },
    /// The server has rejected the connection, with this status or message.
    Refused(String),
    /// The answer to a message that the client sent with this number.
    Reply {
        /// The number.
        ack: u64,
        /// `false` if the answer is an error.
        ok: bool,
    },
}

/// A message from the client.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    /// The answer to an ask.
    Answer {
        /// The ask's number.
        ack: u64,
        /// The payload.
        json: String,
    },
    /// A disconnect, in the protocol's way.
    Close,
    /// An event without data.
    Event {
        /// The name.
        name: &'static str,
    },
    /// A request to replace the connection's token.
    Refresh {
        /// The token.
        token: String,
        /// The number that the server replies with.
        ack: u64,
    },
    /// A request to enter or exit a room.
    Room {
        /// The room.
        room: String,
        /// The number that the server replies with.
        ack: u64,
        /// `true` if it is to enter the room.
        enter: bool,
    },
}

impl Received<'_> {
    /// Parses it in full; a `retry:` becomes the event `reconnect` that the other transports send.
    ///
    /// # Errors
    /// When it is not a message of the protocol.
    pub fn parse(&self) -> Result<ServerMessage> {
        Ok(match self {
            Self::Close => ServerMessage::Close,
            Self::Message(encoded) => encoded.parse()?,
            Self::Refused(what) => ServerMessage::Refused(what.clone().into_owned()),
            Self::Retry(millis) => {
                let (name, data) = ("reconnect".to_owned(), serde_json::json!({ "delayMs": millis }));
                ServerMessage::Event { name, data, cursor: None, ack: None }
            }
        })
    }
}

impl Encoded<'_> {
    /// Finds name, data and cursor by their position, where this workspace's servers write them:
    /// the name first and the cursor last. Returns `None` for a block of comments.
    ///
    /// # Errors
    /// When it is not an event.
    pub fn scan(&self) -> Result<Option<Scanned<'_>>> {
        Ok(match self {
            Self::Block(Block { data: Some(data), event, id, .. }) => {
                Some(Scanned { name: event.unwrap_or("message"), data, cursor: id.unwrap_or_default() })
            }
            Self::Block(Block { id, .. }) => id.map(|cursor| Scanned { name: "cursor", data: b"", cursor }),
            Self::Envelope(json) => {
                let name = first_text(json, b"{\"type\":\"").ok_or("a text frame without a type")?;
                let id = last_text(json, b"\"}").filter(|(before, _)| before.ends_with(b",\"id\":"));
                Some(Scanned { name, data: json, cursor: id.map_or("", |(_, id)| id) })
            }
            Self::Event { arguments, .. } => {
                let name = first_text(arguments, b"[\"").ok_or("an event without a name")?;
                // The last argument of this workspace's servers. Another server's event has none,
                // and its data may be anything.
                let cursor = last_text(arguments, b"\"]").map_or("", |(_, cursor)| cursor);
                Some(Scanned { name, data: arguments, cursor })
            }
            Self::Reply { ack, .. } => return Err(format!("a reply to nothing: {ack}")),
        })
    }

    /// Parses it in full.
    ///
    /// # Errors
    /// When it is not a message of the protocol.
    pub fn parse(&self) -> Result<ServerMessage> {
        match self {
            Self::Block(block) => parse_block(block),
            Self::Envelope(json) => parse_envelope(json),
            Self::Event { ack, arguments } => parse_event(arguments, *ack),
            Self::Reply { ack, arguments } => {
                let error = array(arguments)?.first().is_some_and(|first| first.get("error").is_some());
                Ok(ServerMessage::Reply { ack: *ack, ok: !error })
            }
        }
    }
}

fn parse_block(block: &Block<'_>) -> Result<ServerMessage> {
    let owned = |text: &str| text.to_owned();
    match block {
        Block { event: Some(name), id, data: Some(data), .. } => {
            Ok(ServerMessage::Event { name: owned(name), data: json(data)?, cursor: id.map(owned), ack: None })
        }
        Block { event: None, id: Some(cursor), data: None, .. } => Ok(ServerMessage::Cursor(owned(cursor))),
        _ => Err(format!("a block that is neither an event nor a cursor: {block:?}")),
    }
}

fn parse_envelope(envelope: &[u8]) -> Result<ServerMessage> {
    let mut value = json(envelope)?;
    let name = text(&value["type"], "a message's type")?;
    let cursor = value.get("id").map(|id| text(id, "an id")).transpose()?;
    let ack = value.get("ack").and_then(Value::as_u64);
    Ok(match (&*name, ack, cursor) {
        ("ack", Some(ack), None) => ServerMessage::Reply { ack, ok: true },
        ("error", Some(ack), None) => ServerMessage::Reply { ack, ok: false },
        ("cursor", None, Some(cursor)) => ServerMessage::Cursor(cursor),
        (_, ack, cursor) => ServerMessage::Event { data: value["payload"].take(), name, cursor, ack },
    })
}

fn parse_event(arguments: &[u8], ack: Option<u64>) -> Result<ServerMessage> {
    let mut arguments = array(arguments)?.into_iter();
    let name = text(&arguments.next().unwrap_or_default(), "an event's name")?;
    let data = arguments.next().ok_or("an event without data")?;
    if name == "cursor" {
        return Ok(ServerMessage::Cursor(text(&data, "a cursor")?));
    }
    let cursor = arguments.next().map(|cursor| text(&cursor, "a cursor")).transpose()?;
    Ok(ServerMessage::Event { name, data, cursor, ack })
}

fn array(arguments: &[u8]) -> Result<Vec<Value>> {
    match json(arguments)? {
        Value::Array(arguments) => Ok(arguments),
        other => Err(format!("not a list of arguments: {other}")),
    }
}

pub(crate) fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| format!("{error} in {:?}", String::from_utf8_lossy(bytes)))
}

pub(crate) fn text(value: &Value, what: &str) -> Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{what} is not a text: {value}"))
}

/// Returns the JSON text after this beginning, if it needs no escapes.
fn first_text<'a>(json: &'a [u8], beginning: &[u8]) -> Option<&'a str> {
    let rest = json.strip_prefix(beginning)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Returns the JSON text before this ending, if it needs no escapes, and the bytes before the text.
fn last_text<'a>(json: &'a [u8], ending: &[u8]) -> Option<(&'a [u8], &'a str)> {
    /// The longest cursor.
    const MOST: usize = 64;
    let rest = json.strip_suffix(ending)?;
    let tail = &rest[rest.len().saturating_sub(MOST + 1)..];
    let length = tail.iter().rev().position(|byte| *byte == b'"')?;
    let (before, text) = rest.split_at(rest.len() - length);
    Some((before.strip_suffix(b"\"")?, std::str::from_utf8(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(envelope: &str) -> String {
        Encoded::Envelope(envelope.as_bytes()).scan().unwrap().unwrap().cursor.to_owned()
    }

    #[test]
    fn scan_finds_a_cursor_only_in_the_last_field() {
        assert_eq!(cursor(r#"{"type":"tick","payload":{"a":"b"},"id":"AX_-z"}"#), "AX_-z");
        assert_eq!(cursor(r#"{"type":"tick","payload":{"id":"b"}}"#), "");
        assert_eq!(cursor(r#"{"type":"tick","payload":"id"}"#), "");
        assert_eq!(cursor(&format!("{{\"type\":\"tick\",\"payload\":\"{}\"}}", "x".repeat(100))), "");
    }

    #[test]
    fn scan_and_parse_agree_on_name_and_cursor() {
        let block = Block { event: Some("tick"), id: Some("c"), data: Some(b"1".into()), retry: None };
        for encoded in [
            Encoded::Block(block),
            Encoded::Envelope(br#"{"type":"tick","payload":1,"id":"c"}"#),
            Encoded::Event { ack: None, arguments: br#"["tick",1,"c"]"# },
        ] {
            let scanned = encoded.scan().unwrap().unwrap();
            assert_eq!((scanned.name, scanned.cursor), ("tick", "c"));
            let event = ServerMessage::Event {
                name: "tick".to_owned(),
                data: 1.into(),
                cursor: Some("c".to_owned()),
                ack: None,
            };
            assert_eq!(encoded.parse(), Ok(event));
        }
    }

    #[test]
    fn comments_are_nothing_to_scan_and_an_error_to_parse() {
        let comment = Encoded::Block(Block::default());
        assert_eq!(comment.scan(), Ok(None));
        assert!(comment.parse().is_err());
    }
}
