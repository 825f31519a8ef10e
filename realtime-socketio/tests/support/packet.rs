use bytes::Bytes;
use serde_json::Value;

/// One packet of Engine.IO (protocol 4), as both transports carry it.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    Text(String),
    Binary(Bytes),
}

/// One packet of Socket.IO (protocol 5), its attachments collected.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The namespace; `/` is the main one.
    pub namespace: String,
    /// `0` connect, `1` disconnect, `2` event, `3` ack, `4` connect error; those with attachments
    /// count as without.
    pub kind: u8,
    /// The id of an ack, or of an event that requests one.
    pub id: Option<u64>,
    /// The JSON data; null where there is none.
    pub data: Value,
    pub attachments: Vec<Bytes>,
}

/// Parses a packet without its attachments, and returns their number.
pub fn parse(text: &str) -> (Message, usize) {
    let (kind, mut rest) = (text.as_bytes()[0] - b'0', &text[1..]);
    let mut attachments = 0;
    if kind == 5 || kind == 6 {
        let (count, after) = rest.split_once('-').expect("a number of attachments");
        (attachments, rest) = (count.parse().expect("a number"), after);
    }
    let mut namespace = "/".to_owned();
    if rest.starts_with('/') {
        let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
        (namespace, rest) = (name.to_owned(), after);
    }
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let id = rest[..digits].parse().ok();
    let data = match &rest[digits..] {
        "" => Value::Null,
        json => serde_json::from_str(json).expect("JSON"),
    };
    let kind = if kind >= 5 { kind - 3 } else { kind };
    (Message { namespace, kind, id, data, attachments: Vec::new() }, attachments)
}

impl Message {
    /// Returns an event's name.
    pub fn name(&self) -> &str {
        assert_eq!(self.kind, 2, "not an event: {self:?}");
        self.data[0].as_str().expect("a name")
    }
}
