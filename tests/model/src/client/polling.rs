//! Socket.IO 5 over Engine.IO 4 on long polling: one wire for what comes, one for what goes.

use super::http::{self, Part, Responses};
use super::socketio::{Packet, Packets};
use super::{Heard, Protocol, Say, Wish, Word};

const GET: usize = 0;
const POST: usize = 1;

pub(super) struct Polling {
    query: String,
    packets: Packets,
    sid: Option<String>,
    wires: [Wire; 2],
    /// Packets that wait for the POST before them.
    unsent: Vec<String>,
    posting: bool,
}

#[derive(Default)]
struct Wire {
    responses: Responses,
    status: u16,
    body: Vec<u8>,
}

impl Polling {
    pub(super) fn new(wish: &Wish) -> Self {
        Self {
            query: wish.query.clone(),
            packets: Packets::new(wish),
            sid: None,
            wires: Default::default(),
            unsent: Vec::new(),
            posting: false,
        }
    }

    fn target(&self) -> String {
        let sid = self.sid.as_ref().map(|sid| format!("&sid={sid}")).unwrap_or_default();
        format!("/socket.io/?EIO=4&transport=polling&{}{sid}", self.query)
    }

    /// The next POST, when the one before is answered.
    fn post(&mut self) -> Option<(usize, Vec<u8>)> {
        if self.posting || self.unsent.is_empty() || self.sid.is_none() {
            return None;
        }
        self.posting = true;
        let body = std::mem::take(&mut self.unsent).join("\u{1e}");
        Some((POST, http::post(&self.target(), &body)))
    }

    fn end(&mut self, lane: usize, heard: &mut Heard) -> Result<(), String> {
        let wire = &mut self.wires[lane];
        let body = String::from_utf8(std::mem::take(&mut wire.body)).map_err(|error| error.to_string())?;
        if wire.status != 200 {
            heard.words.push(Word::Refused(wire.status.to_string()));
            return Ok(());
        }
        if lane == POST {
            self.posting = false;
            return Ok(());
        }
        let mut over = false;
        for packet in body.split('\u{1e}') {
            match self.packets.read(packet)? {
                Packet::Answer(answer) => self.unsent.push(answer),
                Packet::Nothing => {}
                Packet::Open(sid) => {
                    self.sid = Some(sid);
                    self.unsent.push(self.packets.connect());
                }
                Packet::Word(word) => {
                    over |= word == Word::Goodbye;
                    heard.words.push(word);
                }
            }
        }
        if !over {
            heard.answers.push((GET, http::get(&self.target(), "")));
        }
        Ok(())
    }
}

impl Protocol for Polling {
    fn lanes(&self) -> usize {
        2
    }

    fn open(&mut self) -> Vec<u8> {
        http::get(&self.target(), "")
    }

    fn read(&mut self, lane: usize, bytes: &[u8], heard: &mut Heard) -> Result<(), String> {
        for part in self.wires[lane].responses.feed(bytes)? {
            match part {
                Part::Head { status } => self.wires[lane].status = status,
                Part::Data(data) => self.wires[lane].body.extend(data),
                Part::End => self.end(lane, heard)?,
            }
        }
        heard.answers.extend(self.post());
        Ok(())
    }

    fn say(&mut self, say: Say) -> Vec<(usize, Vec<u8>)> {
        self.unsent.push(Packets::say(&say));
        if matches!(say, Say::Goodbye) {
            self.unsent.push("1".to_owned());
        }
        self.post().into_iter().collect()
    }

    fn is_amid(&self) -> bool {
        self.wires.iter().any(|wire| wire.responses.is_amid())
    }
}
