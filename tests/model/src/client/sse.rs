//! An event stream (WHATWG HTML §9.2.6), as an `EventSource` reads it.

use serde_json::Value;

use super::http::{self, Part, Responses};
use super::{Heard, Protocol, Say, Wish, Word};

pub(super) struct Sse {
    request: Vec<u8>,
    responses: Responses,
    status: u16,
    /// Lines of which the last one has not ended.
    text: Vec<u8>,
    block: Block,
    /// The block that begins with the time to wait, as every stream does, has come.
    begun: bool,
}

#[derive(Default)]
struct Block {
    name: Option<String>,
    id: Option<String>,
    data: Option<String>,
}

impl Sse {
    pub(super) fn new(wish: &Wish, cursor_in_query: bool) -> Self {
        let mut target = format!("/sse?{}", wish.query);
        wish.rooms.iter().for_each(|room| target += &format!("&channel={room}"));
        let mut headers = "accept: text/event-stream\r\n".to_owned();
        match &wish.cursor {
            Some(cursor) if cursor_in_query => target += &format!("&lastEventId={cursor}"),
            Some(cursor) => headers += &format!("last-event-id: {cursor}\r\n"),
            None => {}
        }
        let request = http::get(&target, &headers);
        Self {
            request,
            responses: Responses::default(),
            status: 0,
            text: Vec::new(),
            block: Block::default(),
            begun: false,
        }
    }

    fn lines(&mut self, bytes: &[u8], heard: &mut Heard) -> Result<(), String> {
        self.text.extend_from_slice(bytes);
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line[..end]), heard)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, heard: &mut Heard) -> Result<(), String> {
        let value = |field: &str| line.strip_prefix(field).map(str::to_owned);
        if line.is_empty() {
            return self.end_block(heard);
        } else if line.starts_with(':') {
        } else if let Some(name) = value("event: ") {
            self.block.name = Some(name);
        } else if let Some(id) = value("id: ") {
            self.block.id = Some(id);
        } else if let Some(data) = value("data: ") {
            let known = self.block.data.take();
            self.block.data = Some(known.map_or(data.clone(), |known| known + "\n" + &data));
        } else if let Some(time) = value("retry: ").and_then(|time| time.parse().ok()) {
            self.told(time, heard);
        } else {
            return Err(format!("no line of an event stream: {line:?}"));
        }
        Ok(())
    }

    /// A time to wait that comes later is what the other transports say with an event.
    fn told(&mut self, time: u64, heard: &mut Heard) {
        if self.begun {
            let data = serde_json::json!({ "delayMs": time });
            heard.words.push(Word::Event { name: "reconnect".to_owned(), data, cursor: None, ack: None });
        }
    }

    fn end_block(&mut self, heard: &mut Heard) -> Result<(), String> {
        match std::mem::take(&mut self.block) {
            Block { name: Some(name), id: cursor, data: Some(data) } => {
                self.begun = true;
                let data: Value = serde_json::from_str(&data).map_err(|error| format!("{error} in {data:?}"))?;
                heard.words.push(Word::Event { name, data, cursor, ack: None });
            }
            Block { name: None, id: Some(cursor), data: None } => heard.words.push(Word::Cursor(cursor)),
            _ => return Err("a block that is neither an event nor a place".to_owned()),
        }
        Ok(())
    }
}

impl Protocol for Sse {
    fn open(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request)
    }

    fn read(&mut self, _: usize, bytes: &[u8], heard: &mut Heard) -> Result<(), String> {
        for part in self.responses.feed(bytes)? {
            match part {
                Part::Head { status } => self.status = status,
                Part::Data(data) if self.status == 200 => self.lines(&data, heard)?,
                Part::Data(_) => {}
                Part::End if self.status == 200 => heard.words.push(Word::Goodbye),
                Part::End => heard.words.push(Word::Refused(self.status.to_string())),
            }
        }
        Ok(())
    }

    fn say(&mut self, _: Say) -> Vec<(usize, Vec<u8>)> {
        Vec::new()
    }

    fn is_amid(&self) -> bool {
        let Block { name, id, data } = &self.block;
        !self.text.is_empty() || name.is_some() || id.is_some() || data.is_some()
    }
}
