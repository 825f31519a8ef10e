//! A record between nodes, versioned: one version byte, the header's length (u32, big endian), the
//! header as JSON, then the payload as it is. Readers skip versions they do not know.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::log::directory::NodeId;
use crate::values::close::CloseReason;
use crate::values::event::{Event, Payload};
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::target::Target;

const VERSION: u8 = 1;
const PREFIX: usize = 1 + 4;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) id: EventId,
    pub(crate) node: NodeId,
    /// Whom it is for.
    pub(crate) providers: Providers,
    pub(crate) body: Body,
}

/// The providers that a record is for, by name: all of them, or these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Providers(Option<Arc<[Box<str>]>>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// An event for a target.
    Event { target: Target, event: Event },
    /// An event that each matched connection is to answer before the deadline.
    Ask { target: Target, event: Event, deadline: SystemTime },
    /// A user enters a room.
    Join { member: Member, room: Arc<str> },
    /// A user leaves a room.
    Leave { member: Member, room: Arc<str> },
    /// The end of an absent user's rooms, as far as they were joined up to a place.
    Absent { member: Member, seen: Position },
    /// The connections of a target that are there are closed.
    Close { target: Target, reason: CloseReason },
}

#[non_exhaustive]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
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
        key: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latest: Option<Arc<str>>,
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

/// How the bytes behind the header are to be read.
#[derive(Default, Serialize, Deserialize)]
struct Shape {
    /// They are no JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    binary: bool,
    /// JSON, then attachments of these lengths.
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

    /// The payload that these bytes are; `None` when the lengths do not fit.
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

impl Providers {
    /// All there are, on every node.
    pub(crate) const ALL: Self = Self(None);

    /// This one alone.
    pub(crate) fn one(name: &str) -> Self {
        Self(Some([name.into()].into()))
    }

    /// These.
    pub(crate) fn these<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Whether it is one alone.
    pub(crate) fn is_one(&self) -> bool {
        self.0.as_ref().is_some_and(|names| names.len() == 1)
    }

    /// Whether this one is among them.
    pub(crate) fn mean(&self, provider: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| **name == *provider))
    }
}

impl Envelope {
    pub(crate) fn encode(&self) -> Bytes {
        use std::borrow::Cow::Borrowed;
        let (kind, payload) = match &self.body {
            Body::Event { target, event } => {
                let kind = Kind::Event {
                    target: Borrowed(target),
                    name: event.name().into(),
                    shape: Shape::of(event.payload()),
                    volatile: event.is_volatile(),
                    key: event.key().map(Into::into),
                    latest: event.latest().cloned(),
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
        let names = self.providers.0.as_ref();
        let providers = names.map(|names| names.iter().map(|name| Borrowed(&**name)).collect());
        let header = Header { id: self.id, node: self.node, providers, kind };
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

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, EnvelopeError> {
        let version = *bytes.first().ok_or(EnvelopeError::Malformed)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let length = bytes.get(1..PREFIX).and_then(|length| length.try_into().ok()).ok_or(EnvelopeError::Malformed)?;
        let end = PREFIX + u32::from_be_bytes(length) as usize;
        let header = bytes.get(PREFIX..end).ok_or(EnvelopeError::Malformed)?;
        let payload = bytes.slice(end..);
        let Header { id, node, providers, kind } =
            serde_json::from_slice(header).map_err(|_| EnvelopeError::Malformed)?;
        let event = |name, shape: Shape, volatile, key, latest| {
            let payload = shape.read(&payload).ok_or(EnvelopeError::Malformed)?;
            Ok(Event::restored(name, payload, volatile, key, latest))
        };
        let body = match kind {
            Kind::Event { target, name, shape, volatile, key, latest } => {
                Body::Event { target: target.into_owned(), event: event(name, shape, volatile, key, latest)? }
            }
            Kind::Ask { target, name, shape, deadline } => {
                Body::Ask { target: target.into_owned(), event: event(name, shape, false, None, None)?, deadline }
            }
            Kind::Join { user, tenant, room } => Body::Join { member: Member { user, tenant }, room },
            Kind::Leave { user, tenant, room } => Body::Leave { member: Member { user, tenant }, room },
            Kind::Absent { user, tenant, seen } => Body::Absent { member: Member { user, tenant }, seen },
            Kind::Close { target, reason } => Body::Close { target: target.into_owned(), reason },
        };
        let providers = Providers(providers.map(|names| names.into_iter().map(Into::into).collect()));
        Ok(Self { id, node, providers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: Body) -> Envelope {
        Envelope { id: EventId::random(), node: NodeId::random(), providers: Providers::one("a\"b"), body }
    }

    fn all() -> Vec<Envelope> {
        let id = crate::values::connection::ConnectionId::random();
        let target = Target::room_in("acme", "räume").except_connection(id).except_user("u").except_user_in("t", "v");
        let event = Event::json("chat", "a\"\n\r\0b").unwrap();
        let latest = Event::json("price", &1).unwrap().latest_key("a price").unwrap();
        let attached = Event::with_attachments("f", &[0, 1], [Bytes::from_static(b"one"), Bytes::new()]).unwrap();
        vec![
            envelope(Body::Event { target: target.clone(), event: event.clone().idempotency_key("k").unwrap() }),
            envelope(Body::Event {
                target: Target::all(),
                event: Event::binary("b", vec![0, 255]).unwrap().volatile(),
            }),
            envelope(Body::Event { target: Target::all(), event: attached }),
            envelope(Body::Event { target: Target::all(), event: latest }),
            envelope(Body::Ask { target, event, deadline: SystemTime::UNIX_EPOCH }),
            envelope(Body::Join { member: Member::bare("u"), room: "r".into() }),
            envelope(Body::Join { member: Member::of_tenant("t", "u"), room: "r".into() }),
            envelope(Body::Leave { member: Member::bare("u"), room: "r".into() }),
            envelope(Body::Leave { member: Member::of_tenant("t", "u"), room: "r".into() }),
            envelope(Body::Absent { member: Member::of_tenant("t", "u"), seen: Position::new(3) }),
            envelope(Body::Close { target: Target::connection(id), reason: CloseReason::KICKED }),
        ]
    }

    #[test]
    fn every_body_survives_its_bytes() {
        for envelope in all() {
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    #[test]
    fn a_record_may_be_for_all_providers_or_for_some() {
        let record = Envelope {
            providers: Providers::ALL,
            ..envelope(Body::Join { member: Member::bare("u"), room: "r".into() })
        };
        assert_eq!(Envelope::decode(&record.encode()), Ok(record));
        assert!(Providers::ALL.mean("ws") && Providers::one("ws").mean("ws") && !Providers::one("ws").mean("sse"));
    }

    #[test]
    fn what_is_cut_or_unknown_is_an_error_and_no_panic() {
        for envelope in all() {
            let bytes = envelope.encode();
            let header_end = PREFIX + u32::from_be_bytes(bytes[1..PREFIX].try_into().unwrap()) as usize;
            for end in 0..header_end {
                assert_eq!(Envelope::decode(&bytes.slice(..end)), Err(EnvelopeError::Malformed), "cut at {end}");
            }
            let mut newer = bytes.to_vec();
            newer[0] = 2;
            assert_eq!(Envelope::decode(&newer.into()), Err(EnvelopeError::Version(2)));
        }
        assert_eq!(Envelope::decode(&Bytes::from_static(&[1, 255, 255, 255, 255])), Err(EnvelopeError::Malformed));
    }
}
