//! An event stream (WHATWG HTML §9.2.6) in an HTTP/1.1 body, chunked (RFC 9112 §7.1) or plain.

use super::Heard;
use crate::Result;

/// Hears events; line ends are LF only, as our servers write them.
#[derive(Debug)]
pub struct Parser {
    /// Where the chunk that is being read stands; none for a plain body.
    chunks: Option<Chunks>,
    text: Vec<u8>,
}

/// Takes the framing of chunks away.
#[derive(Debug, Default)]
struct Chunks {
    /// The line before a chunk, as far as it is there; begins with the line end of the chunk before.
    head: Vec<u8>,
    /// Bytes of the chunk that are still to come.
    left: usize,
    ended: bool,
}

impl Parser {
    /// A parser for a body of this kind.
    pub fn new(chunked: bool) -> Self {
        Self { chunks: chunked.then(Chunks::default), text: Vec::new() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
        match &mut self.chunks {
            Some(chunks) => chunks.feed(bytes, &mut self.text)?,
            None => self.text.extend(bytes),
        }
        let mut at = 0;
        while let Some(length) = self.text[at..].windows(2).position(|window| window == b"\n\n") {
            if let Some(event) = block(&self.text[at..at + length]) {
                hear(event);
            }
            at += length + 2;
        }
        self.text.drain(..at);
        if self.chunks.as_ref().is_some_and(|chunks| chunks.ended) {
            // The last line of a server that goes down ends no block.
            if let Some(retry) = block(&self.text) {
                hear(retry);
            }
            self.text.clear();
            hear(Heard::End);
        }
        Ok(())
    }
}

/// The event in a block, by its first line of data, or else its `retry:`; none in comments and cursors.
fn block(block: &[u8]) -> Option<Heard<'_>> {
    let mut name = "message";
    let mut cursor = "";
    let mut data = None;
    let mut retry = None;
    for line in block.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"data:") {
            data = data.or(Some(value.strip_prefix(b" ").unwrap_or(value)));
        } else if let Some(value) = line.strip_prefix(b"event:") {
            name = std::str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)).ok()?;
        } else if let Some(value) = line.strip_prefix(b"id:") {
            cursor = std::str::from_utf8(value.strip_prefix(b" ").unwrap_or(value)).ok()?;
        } else if let Some(value) = line.strip_prefix(b"retry:") {
            retry = std::str::from_utf8(value).ok()?.trim_start().parse().ok();
        }
    }
    match data {
        Some(data) => Some(Heard::Event { name, data, cursor }),
        None => retry.map(Heard::Retry),
    }
}

impl Chunks {
    fn feed(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() && !self.ended {
            if self.left > 0 {
                let (data, rest) = bytes.split_at(self.left.min(bytes.len()));
                text.extend(data);
                self.left -= data.len();
                bytes = rest;
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let line = self.head.strip_prefix(b"\r\n").unwrap_or(&self.head);
            if let Some(size) = line.strip_suffix(b"\r\n").filter(|size| !size.is_empty()) {
                self.left = usize::from_str_radix(std::str::from_utf8(size)?, 16)?;
                self.ended = self.left == 0;
                self.head.clear();
            } else if self.head.len() > 64 {
                return Err("not a chunk".into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        "retry: 3000\nevent: connected\nid: a\ndata: {}\n\n:\nid: b\n\nevent: tick\ndata: 1\ndata: 2\n\nretry: 840\n";

    fn heard(parser: &mut Parser, bytes: &[u8], cut: usize) -> Vec<String> {
        let mut heard = Vec::new();
        for piece in bytes.chunks(cut) {
            let mut hear = |one: Heard<'_>| match one {
                Heard::Event { name, data, cursor } => {
                    heard.push(format!("{name} {} {cursor}", String::from_utf8_lossy(data)));
                }
                other => heard.push(format!("{other:?}")),
            };
            parser.feed(piece, &mut hear).unwrap();
        }
        heard
    }

    #[test]
    fn a_plain_body_in_pieces_of_any_size() {
        for cut in [1, 3, 1000] {
            assert_eq!(
                heard(&mut Parser::new(false), STREAM.as_bytes(), cut),
                ["connected {} a", "tick 1 "],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_chunked_body_whose_chunks_are_not_its_blocks() {
        for chunk in [1, 5, 16, 1000] {
            let chunks = STREAM.as_bytes().chunks(chunk);
            let mut body: Vec<u8> = chunks
                .flat_map(|chunk| [format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
                .collect();
            body.extend(b"0\r\n\r\n");
            for cut in [1, 3, 2000] {
                let heard = heard(&mut Parser::new(true), &body, cut);
                assert_eq!(
                    heard[..4],
                    ["connected {} a", "tick 1 ", "Retry(840)", "End"],
                    "chunks of {chunk}, cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_an_error() {
        assert!(Parser::new(true).feed(b"event: tick\r\n", &mut |_| {}).is_err());
    }
}
