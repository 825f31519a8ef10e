//! HTTP/1.1 responses (RFC 9112), one after the other.

/// The responses on one wire.
#[derive(Debug, Default)]
pub(super) struct Responses {
    rest: Vec<u8>,
    body: Body,
}

#[derive(Debug, Default)]
enum Body {
    /// Between responses, or amid a head.
    #[default]
    None,
    /// So many bytes are missing.
    Length(usize),
    /// Amid a chunk, of which so many bytes are missing, its line end included.
    Chunk(usize),
    /// Before a chunk's size.
    ChunkSize,
    /// It has become another protocol.
    Upgraded,
}

/// A part of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Head { status: u16 },
    Data(Vec<u8>),
    End,
}

impl Responses {
    /// Reads bytes; the parts that have come.
    ///
    /// # Errors
    /// What is no HTTP.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Part>, String> {
        self.rest.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(part) = self.next()? {
            parts.push(part);
        }
        Ok(parts)
    }

    /// Whether a response has begun and not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.rest.is_empty() || matches!(self.body, Body::Length(_) | Body::Chunk(_))
    }

    fn next(&mut self) -> Result<Option<Part>, String> {
        loop {
            match self.body {
                Body::None => return self.head(),
                Body::Upgraded if self.rest.is_empty() => return Ok(None),
                Body::Upgraded => return Ok(Some(Part::Data(std::mem::take(&mut self.rest)))),
                Body::Length(0) => {
                    self.body = Body::None;
                    return Ok(Some(Part::End));
                }
                Body::Length(left) => {
                    let data = self.take(left);
                    self.body = Body::Length(left - data.len());
                    return Ok((!data.is_empty()).then_some(Part::Data(data)));
                }
                Body::ChunkSize => {
                    let Some(line) = self.line(b"\r\n") else { return Ok(None) };
                    let size = usize::from_str_radix(&line, 16).map_err(|_| format!("a chunk of size {line:?}"))?;
                    self.body = Body::Chunk(size + 2);
                    if size == 0 {
                        // Whatever follows, the body is over.
                        self.body = Body::None;
                        self.take(2);
                        return Ok(Some(Part::End));
                    }
                }
                Body::Chunk(0) => self.body = Body::ChunkSize,
                Body::Chunk(left) => {
                    let data = self.take(left);
                    if data.is_empty() {
                        return Ok(None);
                    }
                    let after = left - data.len();
                    self.body = Body::Chunk(after);
                    // The last two bytes are the chunk's line end.
                    let length = data.len().saturating_sub(2usize.saturating_sub(after));
                    return Ok(Some(Part::Data(data[..length].to_vec())));
                }
            }
        }
    }

    fn head(&mut self) -> Result<Option<Part>, String> {
        let Some(head) = self.line(b"\r\n\r\n") else { return Ok(None) };
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("no response: {head:?}"))?;
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let header =
            |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        self.body = match (status, header("content-length"), header("transfer-encoding")) {
            (101, ..) => Body::Upgraded,
            (_, Some(length), _) => Body::Length(length.parse().map_err(|_| format!("a length of {length:?}"))?),
            (_, None, Some("chunked")) => Body::ChunkSize,
            _ => return Err(format!("a response without a length: {head:?}")),
        };
        Ok(Some(Part::Head { status }))
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        self.rest.drain(..most.min(self.rest.len())).collect()
    }

    /// What comes before this end, which is taken out too.
    fn line(&mut self, end: &[u8]) -> Option<String> {
        let at = self.rest.windows(end.len()).position(|window| window == end)?;
        let line = String::from_utf8_lossy(&self.rest[..at]).into_owned();
        self.rest.drain(..at + end.len());
        Some(line)
    }
}

/// A request without a body.
pub(super) fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: model\r\n{headers}\r\n").into_bytes()
}

/// A request with a body.
pub(super) fn post(target: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: model\r\ncontent-type: text/plain;charset=UTF-8\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The headers of a websocket's handshake (RFC 6455 §4.1).
pub(super) const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_all_kinds_in_pieces_of_any_size() {
        let stream = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n1\r\n\n\r\n0\r\n\r\n";
        for cut in [1, 2, 3, 7, 1000] {
            let mut responses = Responses::default();
            let mut seen = String::new();
            for piece in stream.as_bytes().chunks(cut) {
                for part in responses.feed(piece).unwrap() {
                    match part {
                        Part::Head { status } => seen += &format!("<{status}>"),
                        Part::Data(data) => seen += &String::from_utf8(data).unwrap(),
                        Part::End => seen += "<end>",
                    }
                }
            }
            assert_eq!(seen, "<200>hello<end><200>abc\n<end>", "cut {cut}");
        }
    }
}
