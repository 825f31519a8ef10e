//! Socket.IO 5 over Engine.IO 4 on a websocket.

use serde_json::{Value, json};

use super::http;
use super::ws::{Message, Socket, close_frame, text_frame};
use super::{HELLO, Heard, Protocol, Say, Wish, Word, text};

/// Socket.IO's packets, on whatever carries them.
pub(super) struct Packets {
    /// What the client says to the main namespace.
    connect: String,
}

/// What a packet comes to.
pub(super) enum Packet {
    /// To be answered with another one.
    Answer(String),
    Nothing,
    /// The session's id.
    Open(String),
    Word(Word),
}

impl Packets {
    pub(super) fn new(wish: &Wish) -> Self {
        let mut auth = json!({});
        if !wish.rooms.is_empty() {
            auth["rooms"] = json!(wish.rooms);
        }
        if let Some(cursor) = &wish.cursor {
            auth["lastEventId"] = json!(cursor);
        }
        Self { connect: format!("40{auth}") }
    }

    /// The packet that connects to the main namespace.
    pub(super) fn connect(&self) -> String {
        self.connect.clone()
    }

    pub(super) fn read(&self, packet: &str) -> Result<Packet, String> {
        let json = |json: &str| -> Result<Value, String> {
            serde_json::from_str(json).map_err(|error| format!("{error} in {json:?}"))
        };
        Ok(match packet.as_bytes() {
            [b'0', ..] => Packet::Open(text(&json(&packet[1..])?["sid"], "a session's id")?),
            b"2" => Packet::Answer("3".to_owned()),
            b"6" => Packet::Nothing,
            b"1" | b"41" => Packet::Word(Word::Goodbye),
            [b'4', b'0', ..] => Packet::Nothing,
            [b'4', b'4', ..] => Packet::Word(Word::Refused(packet[2..].to_owned())),
            [b'4', kind @ (b'2' | b'3'), ..] => {
                let at = packet.find('[').ok_or_else(|| format!("a packet without arguments: {packet:?}"))?;
                let number = &packet[2..at];
                let ack = (!number.is_empty()).then(|| number.parse()).transpose();
                let ack: Option<u64> = ack.map_err(|_| format!("a packet with a wrong number: {packet:?}"))?;
                let Value::Array(arguments) = json(&packet[at..])? else { return Err("no arguments".to_owned()) };
                Packet::Word(if *kind == b'2' { event(arguments, ack)? } else { reply(&arguments, ack)? })
            }
            _ => return Err(format!("not expected: {packet:?}")),
        })
    }

    pub(super) fn say(say: &Say) -> String {
        match say {
            Say::Answer { ack, json } => format!("43{ack}[{json}]"),
            Say::Goodbye => "41".to_owned(),
            Say::Hello => format!("42{}", json!([HELLO, null])),
            Say::Subscribe { room, ack } => format!("42{ack}{}", json!(["join", room])),
            Say::Unsubscribe { room, ack } => format!("42{ack}{}", json!(["leave", room])),
        }
    }
}

fn event(arguments: Vec<Value>, ack: Option<u64>) -> Result<Word, String> {
    let mut arguments = arguments.into_iter();
    let name = text(&arguments.next().unwrap_or_default(), "an event's name")?;
    let data = arguments.next().ok_or("an event without data")?;
    if name == "cursor" {
        return Ok(Word::Cursor(text(&data, "a place")?));
    }
    let cursor = arguments.next().map(|cursor| text(&cursor, "a place")).transpose()?;
    Ok(Word::Event { name, data, cursor, ack })
}

fn reply(arguments: &[Value], ack: Option<u64>) -> Result<Word, String> {
    let ack = ack.ok_or("a reply without a number")?;
    Ok(Word::Reply { ack, ok: arguments.first().is_none_or(|first| first.get("error").is_none()) })
}

pub(super) struct SocketIo {
    target: String,
    socket: Socket,
    packets: Packets,
}

impl SocketIo {
    pub(super) fn new(wish: &Wish) -> Self {
        let target = format!("/socket.io/?EIO=4&transport=websocket&{}", wish.query);
        Self { target, socket: Socket::default(), packets: Packets::new(wish) }
    }
}

impl Protocol for SocketIo {
    fn open(&mut self) -> Vec<u8> {
        http::get(&self.target, http::UPGRADE)
    }

    fn read(&mut self, _: usize, bytes: &[u8], heard: &mut Heard) -> Result<(), String> {
        for message in self.socket.read(bytes, &mut heard.answers)? {
            match message {
                Message::Close => heard.words.push(Word::Goodbye),
                Message::Refused(status) => heard.words.push(Word::Refused(status)),
                Message::Text(text) => match self.packets.read(&text)? {
                    Packet::Answer(answer) => heard.answers.push((0, text_frame(&answer))),
                    Packet::Nothing => {}
                    Packet::Open(_) => heard.answers.push((0, text_frame(&self.packets.connect()))),
                    Packet::Word(word) => heard.words.push(word),
                },
            }
        }
        Ok(())
    }

    fn say(&mut self, say: Say) -> Vec<(usize, Vec<u8>)> {
        let packet = text_frame(&Packets::say(&say));
        match say {
            Say::Goodbye => vec![(0, packet), (0, close_frame())],
            _ => vec![(0, packet)],
        }
    }

    fn is_amid(&self) -> bool {
        self.socket.is_amid()
    }
}
