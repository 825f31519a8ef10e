//! WebSocket frames (RFC 6455), and the JSON envelope in them.

use serde_json::{Value, json};

use super::http::{self, Part, Responses};
use super::{HELLO, Heard, Protocol, Say, Wish, Word, text};

/// A websocket from its handshake on.
#[derive(Default)]
pub(super) struct Socket {
    responses: Responses,
    status: u16,
    frames: Vec<u8>,
}

/// What a websocket brings.
pub(super) enum Message {
    Close,
    Refused(String),
    Text(String),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Socket {
    pub(super) fn read(&mut self, bytes: &[u8], answers: &mut Vec<(usize, Vec<u8>)>) -> Result<Vec<Message>, String> {
        let mut messages = Vec::new();
        for part in self.responses.feed(bytes)? {
            match part {
                Part::Head { status } => self.status = status,
                Part::Data(data) if self.status == 101 => self.frames.extend(data),
                Part::Data(_) => {}
                Part::End => messages.push(Message::Refused(self.status.to_string())),
            }
        }
        while let Some((opcode, payload)) = self.next_frame()? {
            match opcode {
                TEXT => messages.push(Message::Text(String::from_utf8(payload).map_err(|error| error.to_string())?)),
                CLOSE => {
                    answers.push((0, frame(CLOSE, &payload)));
                    messages.push(Message::Close);
                }
                PING => answers.push((0, frame(PONG, &payload))),
                PONG => {}
                other => return Err(format!("a frame of kind {other}")),
            }
        }
        Ok(messages)
    }

    pub(super) fn is_amid(&self) -> bool {
        !self.frames.is_empty()
    }

    fn next_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, String> {
        let [first, second, ..] = self.frames[..] else { return Ok(None) };
        if first & 0xf0 != 0x80 || second & 0x80 != 0 {
            return Err(format!("no whole, plain frame of a server: {first:#x} {second:#x}"));
        }
        let head = match second {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        if self.frames.len() < head {
            return Ok(None);
        }
        let long = self.frames[2..head].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let length = if head == 2 { usize::from(second) } else { long };
        if self.frames.len() < head + length {
            return Ok(None);
        }
        let payload = self.frames.drain(..head + length).skip(head).collect();
        Ok(Some((first & 0x0f, payload)))
    }
}

/// A frame as a client sends it, masked.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub(super) fn text_frame(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

/// A close frame that says 1000.
pub(super) fn close_frame() -> Vec<u8> {
    frame(CLOSE, &1000u16.to_be_bytes())
}

/// The raw WebSocket transport.
pub(super) struct Ws {
    target: String,
    socket: Socket,
}

impl Ws {
    pub(super) fn new(wish: &Wish) -> Self {
        let mut target = format!("/ws?{}", wish.query);
        wish.rooms.iter().for_each(|room| target += &format!("&channel={room}"));
        wish.cursor.iter().for_each(|cursor| target += &format!("&lastEventId={cursor}"));
        Self { target, socket: Socket::default() }
    }
}

impl Protocol for Ws {
    fn open(&mut self) -> Vec<u8> {
        http::get(&self.target, http::UPGRADE)
    }

    fn read(&mut self, _: usize, bytes: &[u8], heard: &mut Heard) -> Result<(), String> {
        for message in self.socket.read(bytes, &mut heard.answers)? {
            heard.words.push(match message {
                Message::Close => Word::Goodbye,
                Message::Refused(status) => Word::Refused(status),
                Message::Text(text) => word(&text)?,
            });
        }
        Ok(())
    }

    fn say(&mut self, say: Say) -> Vec<(usize, Vec<u8>)> {
        let envelope = match say {
            Say::Answer { ack, json } => format!("{{\"type\":\"ack\",\"ack\":{ack},\"payload\":{json}}}"),
            Say::Goodbye => return vec![(0, close_frame())],
            Say::Hello => json!({"type": HELLO, "payload": null}).to_string(),
            Say::Subscribe { room, ack } => {
                json!({"type": "subscribe", "payload": {"channel": room}, "ack": ack}).to_string()
            }
            Say::Unsubscribe { room, ack } => {
                json!({"type": "unsubscribe", "payload": {"channel": room}, "ack": ack}).to_string()
            }
        };
        vec![(0, text_frame(&envelope))]
    }

    fn is_amid(&self) -> bool {
        self.socket.is_amid()
    }
}

fn word(envelope: &str) -> Result<Word, String> {
    let mut value: Value = serde_json::from_str(envelope).map_err(|error| format!("{error} in {envelope:?}"))?;
    let name = text(&value["type"], "a message's type")?;
    let cursor = value.get("id").map(|id| text(id, "an id")).transpose()?;
    let ack = value.get("ack").and_then(Value::as_u64);
    Ok(match (&*name, ack, cursor) {
        ("ack", Some(ack), None) => Word::Reply { ack, ok: true },
        ("error", Some(ack), None) => Word::Reply { ack, ok: false },
        ("cursor", None, Some(cursor)) => Word::Cursor(cursor),
        (_, ack, cursor) => Word::Event { data: value["payload"].take(), name, cursor, ack },
    })
}
