//! A record between nodes, versioned: one version byte, the header's length (u32, big endian), the
//! header as JSON, then the payload as it is. Readers skip versions they do not know.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::log::directory::NodeId;
use crate::log::record::{Body, Providers, Record};
use crate::values::close::CloseReason;
use crate::values::event::{Event, Payload};
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::target::Target;

const VERSION: u8 = 1;
const PREFIX: usize = 1 + 4;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("unknown envelope version {0}")]
    Version(u8),
    #[error("malformed envelope")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    id: EventId,
    node: NodeId,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    providers: Option<Vec<std::borrow::Cow<'a, str>>>,
    #[serde(borrow)]
    kind: Kind<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind<'a> {
    Event {
        target: std::borrow::Cow<'a, Target>,
        name: Arc<str>,
        #[serde(default, skip_serializing_if = "Shape::is_json")]
        shape: Shape,
        #[serde(default, skip_serializing_if = "is_false")]
        volatile: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latest: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "is_false")]
        widen: bool,
    },
    Ask {
        target: std::borrow::Cow<'a, Target>,
        name: Arc<str>,
        #[serde(default, skip_serializing_if = "Shape::is_json")]
        shape: Shape,
        deadline: SystemTime,
    },
    Join {
        user: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<Arc<str>>,
        room: Arc<str>,
    },
    Leave {
        user: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<Arc<str>>,
        room: Arc<str>,
    },
    Absent {
        user: Arc<str>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<Arc<str>>,
        seen: Position,
    },
    Close {
        target: std::borrow::Cow<'a, Target>,
        reason: CloseReason,
    },
}

/// The form of the bytes after the header.
#[derive(Default, Serialize, Deserialize)]
struct Shape {
    /// Set if the bytes are not JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    binary: bool,
    /// The lengths of the attachments, which follow the JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<u32>,
}

impl Shape {
    fn of(payload: &Payload) -> Self {
        Self {
            binary: matches!(payload, Payload::Binary(_)),
            attachments: payload.attachments().iter().map(|bytes| bytes.len() as u32).collect(),
        }
    }

    fn is_json(&self) -> bool {
        !self.binary && self.attachments.is_empty()
    }

    /// Reads named bytes as a payload; `None` when the lengths do not fit.
    fn read(&self, bytes: &Bytes) -> Option<Payload> {
        if self.binary {
            return Some(Payload::Binary(bytes.clone()));
        }
        let attached: usize = self.attachments.iter().map(|length| *length as usize).sum();
        let mut at = bytes.len().checked_sub(attached)?;
        let json = bytes.slice(..at);
        if self.attachments.is_empty() {
            return Some(Payload::Json(json));
        }
        let attachments = self.attachments.iter().map(|length| {
            let from = at;
            at += *length as usize;
            bytes.slice(from..at)
        });
        Some(Payload::Attached { attachments: attachments.collect(), json })
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Record {
    /// Returns the record's encoded form, which every version of the format can read; encoded on
    /// the first call.
    pub fn bytes(&self) -> &Bytes {
        self.encoded.get_or_init(|| encode(self))
    }
}

/// Encodes a record.
fn encode(record: &Record) -> Bytes {
    use std::borrow::Cow::Borrowed;
    let (kind, payload) = match &record.body {
        Body::Event { target, event, widen } => {
            let kind = Kind::Event {
                target: Borrowed(target),
                name: event.name().into(),
                shape: Shape::of(event.payload()),
                volatile: event.is_volatile(),
                latest: event.latest_key().cloned(),
                widen: *widen,
            };
            (kind, Some(event.payload()))
        }
        Body::Ask { target, event, deadline } => {
            let kind = Kind::Ask {
                target: Borrowed(target),
                name: event.name().into(),
                shape: Shape::of(event.payload()),
                deadline: *deadline,
            };
            (kind, Some(event.payload()))
        }
        Body::Join { member, room } => {
            let Member { user, tenant } = member.clone();
            (Kind::Join { user, tenant, room: Arc::clone(room) }, None)
        }
        Body::Leave { member, room } => {
            let Member { user, tenant } = member.clone();
            (Kind::Leave { user, tenant, room: Arc::clone(room) }, None)
        }
        Body::Absent { member, seen } => {
            let Member { user, tenant } = member.clone();
            (Kind::Absent { user, tenant, seen: *seen }, None)
        }
        Body::Close { target, reason } => (Kind::Close { target: Borrowed(target), reason: reason.clone() }, None),
    };
    let names = record.providers.names();
    let providers = names.map(|names| names.iter().map(|name| Borrowed(&**name)).collect());
    let header = Header { id: record.id, node: record.node, providers, kind };
    let mut bytes = BytesMut::with_capacity(PREFIX + 256 + payload.map_or(0, Payload::size));
    bytes.put_u8(VERSION);
    bytes.put_u32(0);
    // The header holds strings, numbers and times, all of which have a JSON form.
    if let Err(error) = serde_json::to_writer((&mut bytes).writer(), &header) {
        tracing::error!(%error, "an envelope's header could not be written");
    }
    let length = (bytes.len() - PREFIX) as u32;
    bytes[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    for part in payload.iter().flat_map(|payload| std::iter::once(payload.bytes()).chain(payload.attachments())) {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}

/// Decodes a record.
pub(crate) fn decode(bytes: &Bytes) -> Result<Record, EnvelopeError> {
    let version = *bytes.first().ok_or(EnvelopeError::Malformed)?;
    if version != VERSION {
        return Err(EnvelopeError::Version(version));
    }
    let length = bytes.get(1..PREFIX).and_then(|length| length.try_into().ok()).ok_or(EnvelopeError::Malformed)?;
    let end = PREFIX + u32::from_be_bytes(length) as usize;
    let header = bytes.get(PREFIX..end).ok_or(EnvelopeError::Malformed)?;
    let payload = bytes.slice(end..);
    let Header { id, node, providers, kind } = serde_json::from_slice(header).map_err(|_| EnvelopeError::Malformed)?;
    let event = |name, shape: Shape, volatile, latest| {
        let payload = shape.read(&payload).ok_or(EnvelopeError::Malformed)?;
        Ok(Event::restored(name, payload, volatile, latest))
    };
    let body = match kind {
        Kind::Event { target, name, shape, volatile, latest, widen } => {
            Body::Event { target: target.into_owned(), event: event(name, shape, volatile, latest)?, widen }
        }
        Kind::Ask { target, name, shape, deadline } => {
            Body::Ask { target: target.into_owned(), event: event(name, shape, false, None)?, deadline }
        }
        Kind::Join { user, tenant, room } => Body::Join { member: Member { user, tenant }, room },
        Kind::Leave { user, tenant, room } => Body::Leave { member: Member { user, tenant }, room },
        Kind::Absent { user, tenant, seen } => Body::Absent { member: Member { user, tenant }, seen },
        Kind::Close { target, reason } => Body::Close { target: target.into_owned(), reason },
    };
    let providers = providers.map_or(Providers::ALL, |names| Providers::named(names.iter().map(|name| &**name)));
    Ok(Record::new(id, node, providers, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: Body) -> Record {
        Record::new(EventId::random(), NodeId::random(), Providers::one("a\"b"), body)
    }

    fn all() -> Vec<Record> {
        let id = crate::values::connection::ConnectionId::random();
        let target = Target::room_in("acme", "räume").except_connection(id).except_user("u").except_user_in("t", "v");
        let event = Event::json("chat", "a\"\n\r\0b").unwrap();
        let latest = Event::json("price", &1).unwrap().with_latest_key("a price");
        let attached = Event::attached("f", &[0, 1], [Bytes::from_static(b"one"), Bytes::new()]).unwrap();
        let to_all = |event| record(Body::Event { target: Target::all(), event, widen: false });
        vec![
            record(Body::Event { target: target.clone(), event: event.clone(), widen: true }),
            to_all(Event::binary("b", vec![0, 255]).unwrap().volatile()),
            to_all(attached),
            to_all(latest),
            record(Body::Ask { target, event, deadline: SystemTime::UNIX_EPOCH }),
            record(Body::Join { member: Member::bare("u"), room: "r".into() }),
            record(Body::Join { member: Member::of_tenant("t", "u"), room: "r".into() }),
            record(Body::Leave { member: Member::bare("u"), room: "r".into() }),
            record(Body::Leave { member: Member::of_tenant("t", "u"), room: "r".into() }),
            record(Body::Absent { member: Member::of_tenant("t", "u"), seen: Position::new(3) }),
            record(Body::Close { target: Target::connection(id), reason: CloseReason::KICKED }),
        ]
    }

    #[test]
    fn every_body_survives_its_bytes() {
        for record in all() {
            assert_eq!(decode(record.bytes()), Ok(record));
        }
    }

    #[test]
    fn providers_survive_encoding_whether_all_or_named() {
        let mut record = record(Body::Join { member: Member::bare("u"), room: "r".into() });
        record.providers = Providers::ALL;
        assert_eq!(decode(record.bytes()), Ok(record));
        assert!(
            Providers::ALL.contains("ws")
                && Providers::one("ws").contains("ws")
                && !Providers::one("ws").contains("sse")
        );
    }

    #[test]
    fn truncated_or_unknown_envelope_is_an_error() {
        for record in all() {
            let bytes = record.bytes().clone();
            let header_end = PREFIX + u32::from_be_bytes(bytes[1..PREFIX].try_into().unwrap()) as usize;
            for end in 0..header_end {
                assert_eq!(decode(&bytes.slice(..end)), Err(EnvelopeError::Malformed), "cut at {end}");
            }
            let mut newer = bytes.to_vec();
            newer[0] = 2;
            assert_eq!(decode(&newer.into()), Err(EnvelopeError::Version(2)));
        }
        assert_eq!(decode(&Bytes::from_static(&[1, 255, 255, 255, 255])), Err(EnvelopeError::Malformed));
    }
}
