//! Event streams (WHATWG HTML §9.2.6), as far as servers here use them: LF line ends, and one
//! space after each field's colon.

use std::borrow::Cow;

use crate::{ConnectOptions, Result, http};

/// The blocks of an event stream.
#[derive(Debug, Default)]
pub struct Blocks {
    rest: Vec<u8>,
}

/// One block: the fields up to an empty line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block<'a> {
    /// The event's name.
    pub event: Option<&'a str>,
    /// The event's id.
    pub id: Option<&'a str>,
    /// The event's data; several lines are joined by LF.
    pub data: Option<Cow<'a, [u8]>>,
    /// The time to wait before reconnecting, in milliseconds.
    pub retry: Option<u64>,
}

impl Blocks {
    /// Hands on each complete block, and keeps the rest.
    ///
    /// # Errors
    /// When a line is neither a field nor a comment, or `each` fails.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Block<'_>) -> Result<()>) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = self.rest[at..].windows(2).position(|window| window == b"\n\n") {
            each(Block::of(&self.rest[at..at + length])?)?;
            at += length + 2;
        }
        self.rest.drain(..at);
        Ok(())
    }

    /// Hands on the lines after the last block, if there are any: the `retry:` that a server sends
    /// last ends no block.
    ///
    /// # Errors
    /// Those of [`feed`](Self::feed).
    pub fn finish(&mut self, each: &mut dyn FnMut(Block<'_>) -> Result<()>) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        match rest.strip_suffix(b"\n") {
            Some(lines) => each(Block::of(lines)?),
            None => Ok(()),
        }
    }

    /// Returns whether a block has begun and not ended.
    pub fn is_incomplete(&self) -> bool {
        !self.rest.is_empty()
    }
}

impl<'a> Block<'a> {
    fn of(lines: &'a [u8]) -> Result<Self> {
        let mut block = Self::default();
        for line in lines.split(|byte| *byte == b'\n') {
            if let Some(value) = line.strip_prefix(b"data: ") {
                match &mut block.data {
                    Some(data) => {
                        data.to_mut().push(b'\n');
                        data.to_mut().extend_from_slice(value);
                    }
                    None => block.data = Some(Cow::Borrowed(value)),
                }
            } else if let Some(value) = line.strip_prefix(b"event: ") {
                block.event = Some(utf8(value)?);
            } else if let Some(value) = line.strip_prefix(b"id: ") {
                block.id = Some(utf8(value)?);
            } else if let Some(value) = line.strip_prefix(b"retry: ") {
                block.retry = Some(utf8(value)?.parse().map_err(|error| format!("{error} in {value:?}"))?);
            } else if !line.starts_with(b":") {
                return Err(format!("not a line of an event stream: {:?}", String::from_utf8_lossy(line)));
            }
        }
        Ok(block)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

/// Encodes the request for an event stream.
pub(crate) fn request(options: &ConnectOptions) -> Vec<u8> {
    let mut headers = "accept: text/event-stream\r\n".to_owned();
    if let Some(cursor) = options.cursor.as_ref().filter(|_| options.cursor_in_header) {
        headers += &format!("last-event-id: {cursor}\r\n");
    }
    http::get(&options.target("/sse", !options.cursor_in_header), &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_from_pieces_of_any_size() {
        let stream = "retry: 3000\nevent: connected\nid: a\ndata: {}\n\n:\nid: b\n\n:\n\n\
            event: tick\ndata: 1\ndata: 2\n\nretry: 840\n";
        let data = |text: &'static str| Some(text.as_bytes().into());
        let expected = [
            Block { event: Some("connected"), id: Some("a"), data: data("{}"), retry: Some(3000) },
            Block { id: Some("b"), ..Block::default() },
            Block::default(),
            Block { event: Some("tick"), data: data("1\n2"), ..Block::default() },
            Block { retry: Some(840), ..Block::default() },
        ];
        for piece in [1, 3, 1000] {
            let (mut blocks, mut count) = (Blocks::default(), 0);
            let mut each = |block: Block<'_>| {
                assert_eq!(block, expected[count], "pieces of {piece}");
                count += 1;
                Ok(())
            };
            stream.as_bytes().chunks(piece).for_each(|piece| blocks.feed(piece, &mut each).unwrap());
            blocks.finish(&mut each).unwrap();
            assert_eq!(count, expected.len());
            assert!(!blocks.is_incomplete());
        }
    }

    #[test]
    fn unknown_lines_are_errors() {
        for wrong in ["tick\n\n", "data:x\n\n", "retry: soon\n\n", "\n\ndata: x\n\n"] {
            assert!(Blocks::default().feed(wrong.as_bytes(), &mut |_| Ok(())).is_err(), "{wrong:?}");
        }
    }
}
