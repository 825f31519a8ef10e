//! A record between nodes, versioned: the smallest version of readers (one byte), one byte of
//! flags, the header's length (u32, big endian), the header as JSON, then the payload as it is.
//!
//! A node that is older than the smallest version skips the record if the flag [`SKIPPABLE`] is
//! set. Otherwise the record changes what all nodes hold, and the node must read no further.

mod item;
mod shape;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::log::envelope::item::{ItemHeader, item_header, read_item};
use crate::log::envelope::shape::{Shape, is_false};
use crate::log::explain::{self, ExplainAsk, NodeAnswer};
use crate::log::offline::checkpoint::{Checkpoint, Taken};
use crate::log::record::{Body, MAX_TIMEOUT, Providers, Record};
use crate::log::refresh::RefreshAsk;
use crate::log::report::{Received, Report};
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::event::{Event, Payload};
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::node::{NodeId, READS};
use crate::values::position::Position;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::{Refusal, RefusalKind, known_code};
use crate::values::revocation::Revocation;
use crate::values::target::Target;
use crate::values::token::Token;
use crate::values::trace_context::TraceContext;

/// The version of readers that records need, except those of a later one.
const NEEDS: u8 = 1;
/// The version of readers that know revocations and refreshes.
const NEEDS_CREDENTIALS: u8 = 2;
/// The version of readers that know what offline users missed.
const NEEDS_OFFLINE: u8 = 3;
/// The flag of a record without which a node holds the same as with it.
const SKIPPABLE: u8 = 1;
const PREFIX: usize = 1 + 1 + 4;
const LENGTH: std::ops::Range<usize> = 2..PREFIX;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("a record for nodes of version {needs}, which can be skipped; this node reads up to version {READS}")]
    Skippable { needs: u8 },
    #[error("a record for nodes of version {needs}; this node reads up to version {READS}")]
    Version { needs: u8 },
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
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    traceparent: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    tracestate: Option<std::borrow::Cow<'a, str>>,
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
        timeout: Duration,
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
    Check {
        members: Vec<MemberHeader>,
    },
    Present {
        #[serde(flatten)]
        member: MemberHeader,
    },
    Probe {
        #[serde(flatten)]
        member: MemberHeader,
    },
    Report {
        record: EventId,
        first: u64,
        items: Vec<ItemHeader>,
    },
    Received {
        record: EventId,
        items: Option<u64>,
    },
    Refresh {
        request: EventId,
        provider: Arc<str>,
        connection: ConnectionId,
        token: Arc<str>,
    },
    Refreshed {
        request: EventId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Duration>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<RefusalHeader>,
    },
    Revoke(Revocation),
    Explain(ExplainAsk),
    Explained(NodeAnswer),
    Decided(Checkpoint),
    Taken(Taken),
}

#[derive(Serialize, Deserialize)]
struct RefusalHeader {
    /// The kind's own code.
    code: String,
    /// The code that it was given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given: Option<String>,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
struct MemberHeader {
    user: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<Arc<str>>,
}

impl Record {
    /// Returns the record's encoded form, which every version of the format can read; encoded on
    /// the first call.
    pub fn bytes(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let mut bytes = Vec::with_capacity(PREFIX + self.size());
            encode(self, &mut bytes);
            bytes.into()
        })
    }

    /// Writes the bytes of [`Record::bytes`] behind others, and keeps none of them.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        match self.encoded.get() {
            Some(encoded) => bytes.extend_from_slice(encoded),
            None => encode(self, bytes),
        }
    }
}

/// Writes a record behind other bytes.
fn encode(record: &Record, bytes: &mut Vec<u8>) {
    let mut rest = Vec::new();
    let (kind, payload) = kind_of(&record.body, &mut rest);
    let names = record.providers.names();
    let providers = names.map(|names| names.iter().map(|name| std::borrow::Cow::Borrowed(&**name)).collect());
    let trace = record.sent().and_then(Event::trace);
    let traceparent = trace.map(|trace| trace.traceparent().into());
    let tracestate = trace.and_then(TraceContext::state).map(Into::into);
    let header = Header { id: record.id, node: record.node, providers, traceparent, tracestate, kind };
    let begin = bytes.len();
    bytes.push(needs(&record.body));
    bytes.push(if record.body.is_skippable() { SKIPPABLE } else { 0 });
    bytes.extend([0; 4]);
    // The header holds strings, numbers and times, all of which have a JSON form.
    if let Err(error) = serde_json::to_writer(&mut *bytes, &header) {
        tracing::error!(%error, "an envelope's header could not be written");
    }
    let length = (bytes.len() - begin - PREFIX) as u32;
    bytes[begin..][LENGTH].copy_from_slice(&length.to_be_bytes());
    for payload in payload.into_iter().chain(&rest) {
        std::iter::once(payload.bytes()).chain(payload.attachments()).for_each(|part| bytes.extend_from_slice(part));
    }
}

/// Returns the header's form of a record's content, and the payload behind the header; adds those
/// that follow it.
fn kind_of<'a>(body: &'a Body, rest: &mut Vec<Payload>) -> (Kind<'a>, Option<&'a Payload>) {
    use std::borrow::Cow::Borrowed;
    match body {
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
        Body::Ask { target, event, timeout } => {
            let kind = Kind::Ask {
                target: Borrowed(target),
                name: event.name().into(),
                shape: Shape::of(event.payload()),
                timeout: *timeout,
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
        Body::Check { members } => (Kind::Check { members: members.iter().map(MemberHeader::from).collect() }, None),
        Body::Present { member } => (Kind::Present { member: member.into() }, None),
        Body::Probe { member } => (Kind::Probe { member: member.into() }, None),
        Body::Report(Report { record, first, items }) => {
            let items = items.iter().map(|item| item_header(item, rest)).collect();
            (Kind::Report { record: *record, first: *first, items }, None)
        }
        Body::Received(Received { record, items }) => (Kind::Received { record: *record, items: *items }, None),
        Body::Refresh(RefreshAsk { request, provider, connection, token }) => {
            let (provider, token) = (Arc::clone(provider), Arc::clone(&token.0));
            (Kind::Refresh { request: *request, provider, connection: *connection, token }, None)
        }
        Body::Refreshed { request, outcome } => {
            let refused = outcome.as_ref().err().map(RefusalHeader::from);
            let left = outcome.as_ref().ok().and_then(|refreshed| refreshed.expires_in);
            (Kind::Refreshed { request: *request, left, refused }, None)
        }
        Body::Revoke(revocation) => (Kind::Revoke(revocation.clone()), None),
        Body::Explain(ask) => (Kind::Explain(ask.clone()), None),
        Body::Explained(answer) => (Kind::Explained(answer.clone()), None),
        Body::Decided(checkpoint) => (Kind::Decided(checkpoint.clone()), None),
        Body::Taken(taken) => (Kind::Taken(taken.clone()), None),
    }
}

/// Decodes a record.
pub(crate) fn decode(bytes: &Bytes) -> Result<Record, EnvelopeError> {
    let [needs, flags, ..] = **bytes else { return Err(EnvelopeError::Malformed) };
    if needs > READS {
        let is_skippable = flags & SKIPPABLE != 0;
        return Err(if is_skippable { EnvelopeError::Skippable { needs } } else { EnvelopeError::Version { needs } });
    }
    let length = bytes.get(LENGTH).and_then(|length| length.try_into().ok()).ok_or(EnvelopeError::Malformed)?;
    let end = PREFIX + u32::from_be_bytes(length) as usize;
    let header = bytes.get(PREFIX..end).ok_or(EnvelopeError::Malformed)?;
    let payload = bytes.slice(end..);
    let Header { id, node, providers, traceparent, tracestate, kind } =
        serde_json::from_slice(header).map_err(|_| EnvelopeError::Malformed)?;
    let trace = traceparent.and_then(|parent| TraceContext::parse(&parent, tracestate.as_deref()));
    let event = |name, shape: Shape, volatile, latest| {
        let payload = shape.read(&payload).ok_or(EnvelopeError::Malformed)?;
        let event = Event::restored(name, payload, volatile, latest);
        Ok(trace.iter().fold(event, |event, trace| event.with_trace(trace.clone())))
    };
    let body = match kind {
        Kind::Event { target, name, shape, volatile, latest, widen } => {
            Body::Event { target: target.into_owned(), event: event(name, shape, volatile, latest)?, widen }
        }
        Kind::Ask { target, name, shape, timeout } => {
            // A longer one would not fit into a node's clock.
            let timeout = timeout.min(MAX_TIMEOUT);
            Body::Ask { target: target.into_owned(), event: event(name, shape, false, None)?, timeout }
        }
        Kind::Join { user, tenant, room } => Body::Join { member: Member { user, tenant }, room },
        Kind::Leave { user, tenant, room } => Body::Leave { member: Member { user, tenant }, room },
        Kind::Absent { user, tenant, seen } => Body::Absent { member: Member { user, tenant }, seen },
        Kind::Close { target, reason } => Body::Close { target: target.into_owned(), reason },
        Kind::Check { members } => Body::Check { members: members.into_iter().map(Member::from).collect() },
        Kind::Present { member } => Body::Present { member: member.into() },
        Kind::Probe { member } => Body::Probe { member: member.into() },
        Kind::Report { record, first, items } => {
            let mut payloads = payload;
            let items = items.into_iter().map(|item| read_item(item, &mut payloads)).collect::<Option<_>>();
            let items = items.ok_or(EnvelopeError::Malformed)?;
            Body::Report(Report { record, first, items })
        }
        Kind::Received { record, items } => Body::Received(Received { record, items }),
        Kind::Refresh { request, provider, connection, token } => {
            Body::Refresh(RefreshAsk { request, provider, connection, token: Token(token) })
        }
        Kind::Refreshed { request, left, refused } => {
            let outcome = refused.map_or(Ok(Refreshed::new(left)), |refused| Err(refused.into_refusal()));
            Body::Refreshed { request, outcome }
        }
        Kind::Revoke(revocation) => Body::Revoke(revocation),
        Kind::Explain(ask) => Body::Explain(ask),
        Kind::Explained(answer) => Body::Explained(answer),
        Kind::Decided(checkpoint) => Body::Decided(checkpoint),
        Kind::Taken(taken) => Body::Taken(taken),
    };
    let providers = providers.map_or(Providers::ALL, |names| Providers::named(names.iter().map(|name| &**name)));
    Ok(Record::new(id, node, providers, body))
}

/// Returns the version of readers that a record needs.
fn needs(body: &Body) -> u8 {
    match body {
        Body::Explain(_) | Body::Explained(_) => explain::NEEDS,
        Body::Refresh(_) | Body::Refreshed { .. } | Body::Revoke(_) => NEEDS_CREDENTIALS,
        Body::Decided(_) | Body::Taken(_) => NEEDS_OFFLINE,
        _ => NEEDS,
    }
}

impl From<&Refusal> for RefusalHeader {
    fn from(refusal: &Refusal) -> Self {
        let (code, message) = (refusal.kind().code(), refusal.message().to_owned());
        let given = Some(refusal.code()).filter(|given| *given != code).map(str::to_owned);
        Self { code: code.to_owned(), given, message, retry_after: refusal.retry_after() }
    }
}

impl RefusalHeader {
    fn into_refusal(self) -> Refusal {
        let kind = RefusalKind::of_code(&self.code).unwrap_or(RefusalKind::Internal);
        let mut refusal = Refusal::new(kind, self.message);
        if let Some(given) = self.given.as_deref().and_then(known_code) {
            refusal = refusal.with_code(given);
        }
        self.retry_after.map_or(refusal.clone(), |after| refusal.with_retry_after(after))
    }
}

impl From<&Member> for MemberHeader {
    fn from(member: &Member) -> Self {
        let Member { user, tenant } = member.clone();
        Self { user, tenant }
    }
}

impl From<MemberHeader> for Member {
    fn from(header: MemberHeader) -> Self {
        let MemberHeader { user, tenant } = header;
        Self { user, tenant }
    }
}

#[cfg(test)]
mod tests;
