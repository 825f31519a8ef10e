//! HTTP/1.1 requests and responses (RFC 9112).

use crate::Result;

/// The responses on one TCP connection, one after the other.
#[derive(Debug, Default)]
pub struct Responses {
    /// The incomplete head of a response or line before a chunk.
    line: Vec<u8>,
    body: Body,
    /// The status code of the current or last response; 0 before the first one.
    status: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    /// Inside a chunk, of which this many bytes are missing, its line end included.
    Chunk(usize),
    /// Before a chunk's size.
    ChunkSize,
    /// Before a response or inside its head.
    #[default]
    Head,
    /// Inside a body of which this many bytes are missing.
    Length(usize),
    /// After the last chunk, with this many bytes of its line end missing.
    Trailer(usize),
    /// After a switch to another protocol.
    Upgraded,
}

/// A part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes of the body, or of the protocol that follows an upgrade.
    Data(&'a [u8]),
    /// The end of the body.
    End,
    /// The beginning of a response.
    Head,
}

impl Responses {
    /// Hands on the parts in these bytes, each with the status of its response; body data is not
    /// copied.
    ///
    /// # Errors
    /// When they are not HTTP, a response has no length, or `each` fails.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(u16, Part<'_>) -> Result<()>) -> Result<()> {
        loop {
            match self.body {
                Body::Length(0) => {
                    self.body = Body::Head;
                    each(self.status, Part::End)?;
                }
                _ if bytes.is_empty() => return Ok(()),
                Body::Chunk(0) => self.body = Body::ChunkSize,
                Body::Chunk(missing) => {
                    let data = take(&mut bytes, missing);
                    let after = missing - data.len();
                    self.body = Body::Chunk(after);
                    // The last two bytes are the chunk's line end.
                    let length = data.len().saturating_sub(2usize.saturating_sub(after));
                    if length > 0 {
                        each(self.status, Part::Data(&data[..length]))?;
                    }
                }
                Body::ChunkSize => {
                    let Some(line) = self.line(&mut bytes, b"\r\n") else { return Ok(()) };
                    let size = usize::from_str_radix(&line, 16).map_err(|_| format!("a chunk of size {line:?}"))?;
                    self.body = if size == 0 { Body::Trailer(2) } else { Body::Chunk(size + 2) };
                    if size == 0 {
                        each(self.status, Part::End)?;
                    }
                }
                Body::Head => {
                    let Some(head) = self.line(&mut bytes, b"\r\n\r\n") else { return Ok(()) };
                    (self.status, self.body) = read_head(&head)?;
                    each(self.status, Part::Head)?;
                }
                Body::Length(missing) => {
                    let data = take(&mut bytes, missing);
                    self.body = Body::Length(missing - data.len());
                    each(self.status, Part::Data(data))?;
                }
                Body::Trailer(missing) => {
                    let left = missing - take(&mut bytes, missing).len();
                    self.body = if left == 0 { Body::Head } else { Body::Trailer(left) };
                }
                Body::Upgraded => each(self.status, Part::Data(std::mem::take(&mut bytes)))?,
            }
        }
    }

    /// Returns whether a response has begun and not ended.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.line.is_empty() || matches!(self.body, Body::Length(_) | Body::Chunk(_))
    }

    /// Takes bytes up to this end and returns the text before it once it is there. The longest line
    /// of a valid chunk size has 16 digits.
    fn line(&mut self, bytes: &mut &[u8], end: &[u8]) -> Option<String> {
        while let [first, rest @ ..] = *bytes {
            *bytes = rest;
            self.line.push(*first);
            if let Some(line) = self.line.strip_suffix(end) {
                let line = String::from_utf8_lossy(line).into_owned();
                self.line.clear();
                return Some(line);
            }
        }
        None
    }
}

/// Removes up to `most` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Returns the status, and the kind of body that follows.
fn read_head(head: &str) -> Result<(u16, Body)> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| format!("not a response: {head:?}"))?;
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    let body = match (status, header("content-length"), header("transfer-encoding")) {
        (101, ..) => Body::Upgraded,
        (_, Some(length), _) => Body::Length(length.parse().map_err(|_| format!("a length of {length:?}"))?),
        (_, None, Some("chunked")) => Body::ChunkSize,
        _ => return Err(format!("a response without a length: {head:?}")),
    };
    Ok((status, body))
}

/// Encodes a request without a body; `headers` end with a line end each.
#[must_use]
pub fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: local\r\n{headers}\r\n").into_bytes()
}

/// Encodes a request with a body.
#[must_use]
pub fn post(target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: local\r\ncontent-type: text/plain;charset=UTF-8\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<String> {
        let (mut responses, mut seen) = (Responses::default(), String::new());
        for piece in bytes.chunks(piece) {
            responses.feed(piece, &mut |status, part| {
                match part {
                    Part::Head => seen += &format!("<{status}>"),
                    Part::Data(data) => seen += &String::from_utf8_lossy(data),
                    Part::End => seen += "<end>",
                }
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn bodies_are_read_from_pieces_of_any_size() {
        let stream = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\
            Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\n\n\r\n0\r\n\r\n\
            HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            let seen = read(stream.as_bytes(), piece).unwrap();
            assert_eq!(seen, "<200>hello<end><200>abc\n<end><404><end>", "pieces of {piece}");
        }
    }

    #[test]
    fn bytes_after_an_upgrade_are_data() {
        let stream = "HTTP/1.1 101 Switching Protocols\r\n\r\n1\r\nHTTP/1.1";
        for piece in [1, 5, 1000] {
            assert_eq!(read(stream.as_bytes(), piece).unwrap(), "<101>1\r\nHTTP/1.1");
        }
    }

    #[test]
    fn malformed_chunks_and_heads_are_errors() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(read(format!("{head}event: tick\r\n").as_bytes(), 100).is_err());
        assert!(read(b"event: tick\r\n\r\n", 100).is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n", 100).is_err());
    }
}
