//! Packets of Socket.IO 5 over Engine.IO 4.

use serde_json::json;

use crate::message::{Encoded, Received};
use crate::{ClientMessage, ConnectOptions, Result};

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The end of the session, or of its connection to the main namespace.
    Close,
    /// The rejection of the connection to a namespace, as JSON.
    ConnectError(&'a [u8]),
    /// An event, or the answer to one of the client.
    Message(Encoded<'a>),
    /// A packet that needs no reaction: a noop, or the connection to a namespace.
    Noop,
    /// The handshake, as JSON.
    Open(&'a [u8]),
    /// A heartbeat, to be answered with [`PONG`].
    Ping,
}

/// The answer to a ping.
pub const PONG: &str = "3";

impl<'a> Packet<'a> {
    /// Reads a packet's type and number, and leaves its JSON as it is.
    ///
    /// # Errors
    /// When a server does not send such packets.
    pub fn decode(packet: &'a [u8]) -> Result<Self> {
        Ok(match packet {
            [b'0', json @ ..] => Self::Open(json),
            b"1" | b"41" => Self::Close,
            b"2" => Self::Ping,
            [b'4', b'0', ..] | b"6" => Self::Noop,
            [b'4', b'2', rest @ ..] => {
                let (ack, arguments) = number(rest)?;
                Self::Message(Encoded::Event { ack, arguments })
            }
            [b'4', b'3', rest @ ..] => {
                let (ack, arguments) = number(rest)?;
                Self::Message(Encoded::Reply { ack: ack.ok_or("a reply without a number")?, arguments })
            }
            [b'4', b'4', json @ ..] => Self::ConnectError(json),
            other => return Err(format!("not an expected packet: {:?}", String::from_utf8_lossy(other))),
        })
    }

    /// Returns what the application receives of it, if anything.
    pub(crate) fn received(self) -> Option<Received<'a>> {
        Some(match self {
            Self::Close => Received::Close,
            Self::ConnectError(json) => Received::Refused(String::from_utf8_lossy(json)),
            Self::Message(message) => Received::Message(message),
            Self::Noop | Self::Open(_) | Self::Ping => return None,
        })
    }
}

/// Splits the digits before a JSON array from it.
fn number(rest: &[u8]) -> Result<(Option<u64>, &[u8])> {
    let wrong = || format!("a packet without a number or arguments: {:?}", String::from_utf8_lossy(rest));
    let length = rest.iter().position(|byte| *byte == b'[').ok_or_else(wrong)?;
    let (digits, arguments) = rest.split_at(length);
    let number = |digits| std::str::from_utf8(digits).ok()?.parse().ok();
    if digits.is_empty() { Ok((None, arguments)) } else { Ok((Some(number(digits).ok_or_else(wrong)?), arguments)) }
}

/// Encodes the packet that connects to the main namespace, with rooms and cursor in `auth`.
#[must_use]
pub fn connect(options: &ConnectOptions) -> String {
    let mut auth = json!({});
    if !options.rooms.is_empty() {
        auth["rooms"] = json!(options.rooms);
    }
    if let Some(cursor) = &options.cursor {
        auth["lastEventId"] = json!(cursor);
    }
    format!("40{auth}")
}

/// Encodes a message of the client.
#[must_use]
pub fn encode(message: &ClientMessage) -> String {
    match message {
        ClientMessage::Answer { ack, json } => format!("43{ack}[{json}]"),
        ClientMessage::Close => "41".to_owned(),
        ClientMessage::Event { name } => format!("42{}", json!([name, null])),
        ClientMessage::Refresh { token, ack } => format!("42{ack}{}", json!(["refresh", { "token": token }])),
        ClientMessage::Room { room, ack, enter } => {
            format!("42{ack}{}", json!([if *enter { "join" } else { "leave" }, room]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_classified_without_reading_their_json() {
        for (packet, expected) in [
            ("0{\"sid\":\"a\"}", Packet::Open(b"{\"sid\":\"a\"}")),
            ("40{\"sid\":\"b\"}", Packet::Noop),
            ("2", Packet::Ping),
            ("42[\"tick\",1]", Packet::Message(Encoded::Event { ack: None, arguments: b"[\"tick\",1]" })),
            ("4217[\"q\",1]", Packet::Message(Encoded::Event { ack: Some(17), arguments: b"[\"q\",1]" })),
            ("433[{}]", Packet::Message(Encoded::Reply { ack: 3, arguments: b"[{}]" })),
            ("44{\"message\":\"no\"}", Packet::ConnectError(b"{\"message\":\"no\"}")),
            ("41", Packet::Close),
            ("1", Packet::Close),
        ] {
            assert_eq!(Packet::decode(packet.as_bytes()), Ok(expected), "{packet}");
        }
        for wrong in ["", "5", "42", "42x[1]", "43[1]"] {
            assert!(Packet::decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
