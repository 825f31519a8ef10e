use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde::de::DeserializeOwned;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent {
    /// The type; `message` if the stream named none.
    pub event: String,
    /// The last event id after this event.
    pub id: String,
    /// The data, lines joined with LF.
    pub data: String,
}

impl SseEvent {
    /// Returns the data as a value.
    ///
    /// # Panics
    /// If it is not JSON of this form.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.data).unwrap_or_else(|error| {
            let expected = std::any::type_name::<T>();
            panic!("the data of \"{}\" is not a {expected}: {error} in {:.200}", self.event, self.data)
        })
    }
}

/// A parser for a stream of server-sent events (WHATWG HTML §9.2.6), in chunks of any size.
#[derive(Debug, Default)]
pub struct SseParser {
    buffer: BytesMut,
    /// Set when the stream's beginning has been checked for a byte order mark.
    begun: bool,
    /// Set while the last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    event: String,
    data: String,
    has_data: bool,
    /// The id of the current block; kept until a block names another one.
    id: String,
    reported_id: String,
}

/// One item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SseItem {
    /// A comment line, without its colon; heartbeats are comments.
    Comment(String),
    /// A block with data.
    Event(SseEvent),
    /// A block without data that changed the last event id; browsers keep the id and fire no event.
    Id(String),
    /// A new time to wait before a reconnect.
    Retry(Duration),
}

impl SseParser {
    /// Creates a parser at the beginning of a stream, with this last event id.
    pub fn new(last_event_id: impl Into<String>) -> Self {
        let id = last_event_id.into();
        Self { reported_id: id.clone(), id, ..Self::default() }
    }

    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next item, if its last line is complete.
    pub fn next_item(&mut self) -> Option<SseItem> {
        while let Some(line) = self.next_line() {
            if let Some(item) = self.line(&line) {
                return Some(item);
            }
        }
        None
    }

    /// Returns the next line without its end, which is CR, LF or CRLF.
    fn next_line(&mut self) -> Option<String> {
        if !self.begun {
            if self.buffer.len() < 3 && b"\xef\xbb\xbf".starts_with(&self.buffer) {
                return None;
            }
            if self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.advance(3);
            }
            self.begun = true;
        }
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
            }
        }
        let end = self.buffer.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let line = self.buffer.split_to(end);
        self.after_cr = self.buffer[0] == b'\r';
        self.buffer.advance(1);
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    fn line(&mut self, line: &str) -> Option<SseItem> {
        if line.is_empty() {
            return self.dispatch();
        }
        if let Some(comment) = line.strip_prefix(':') {
            return Some(SseItem::Comment(comment.to_owned()));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
                self.has_data = true;
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return value.parse().ok().map(|ms| SseItem::Retry(Duration::from_millis(ms)));
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseItem> {
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let new_id = self.reported_id != self.id;
        self.reported_id.clone_from(&self.id);
        if !has_data {
            return new_id.then(|| SseItem::Id(self.id.clone()));
        }
        data.pop();
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(SseItem::Event(SseEvent { event, id: self.id.clone(), data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], chunk: usize) -> Vec<SseItem> {
        let mut parser = SseParser::default();
        let mut items = Vec::new();
        for chunk in stream.chunks(chunk) {
            parser.push(chunk);
            items.extend(std::iter::from_fn(|| parser.next_item()));
        }
        items
    }

    fn event(event: &str, id: &str, data: &str) -> SseItem {
        SseItem::Event(SseEvent { event: event.into(), id: id.into(), data: data.into() })
    }

    #[test]
    fn parser_follows_the_standard_for_chunks_of_any_size() {
        let stream = "\u{feff}retry: 250\r\n: hi\r\nevent: a\rid: 1\rdata: x\r\rdata\n\nid: 2\n\nevent: b\n\n\
            data:  two\r\ndata:lines\r\nid: no\0\r\nunknown: z\r\nretry: 1s\r\n\r\nid\ndata:ä\u{1f600}\n\n\
            data: cut";
        let expected = [
            SseItem::Retry(Duration::from_millis(250)),
            SseItem::Comment(" hi".into()),
            event("a", "1", "x"),
            event("message", "1", ""),
            SseItem::Id("2".into()),
            event("message", "2", " two\nlines"),
            event("message", "", "ä\u{1f600}"),
        ];
        for chunk in [1, 2, 3, 5, 7, 1000] {
            assert_eq!(read(stream.as_bytes(), chunk), expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn event_type_without_data_is_dropped() {
        assert_eq!(read(b"event: a\n\ndata: x\n\n", 100), [event("message", "", "x")]);
    }
}
