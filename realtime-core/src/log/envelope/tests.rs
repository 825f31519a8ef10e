use super::*;
use crate::log::offline::checkpoint::{Flags, Word};
use crate::log::report::{Item, Settled};
use crate::values::ack::AckStatus;
use crate::values::cursor::Epoch;
use crate::values::explanation::Explained;
use crate::values::fate::{Acknowledgement, DropReason, Fate, Mismatch, Unknown};
use crate::values::inbound::InboundPayload;
use crate::values::node::NodeInfo;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

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
    let mut records = vec![
        record(Body::Event { target: target.clone(), event: event.clone(), widen: true }),
        to_all(Event::binary("b", vec![0, 255]).unwrap().as_volatile()),
        to_all(attached),
        to_all(latest),
        to_all(event.clone().with_trace(TraceContext::parse(PARENT, Some("a=b")).unwrap())),
        record(Body::Ask {
            target: target.clone(),
            event: event.clone().with_trace(TraceContext::parse(PARENT, None).unwrap()),
            timeout: Duration::from_millis(1_500),
        }),
        record(Body::Ask { target, event, timeout: Duration::from_millis(1_500) }),
        record(Body::Join { member: Member::bare("u"), room: "r".into() }),
        record(Body::Join { member: Member::of_tenant("t", "u"), room: "r".into() }),
        record(Body::Leave { member: Member::bare("u"), room: "r".into() }),
        record(Body::Leave { member: Member::of_tenant("t", "u"), room: "r".into() }),
        record(Body::Absent { member: Member::of_tenant("t", "u"), seen: Position::new(3) }),
        record(Body::Close { target: Target::connection(id), reason: CloseReason::KICKED }),
        record(Body::Check { members: [Member::bare("u"), Member::of_tenant("t", "v")].into() }),
        record(Body::Present { member: Member::bare("u") }),
        record(Body::Probe { member: Member::of_tenant("t", "u") }),
        record(Body::Report(report(id))),
        record(Body::Received(Received { record: EventId::random(), items: Some(3) })),
        record(Body::Received(Received { record: EventId::random(), items: None })),
        record(Body::Refresh(RefreshAsk {
            request: EventId::random(),
            provider: "sse".into(),
            connection: id,
            token: Token("a\"b".into()),
        })),
        record(refreshed(Ok(Refreshed::new(None)))),
        record(refreshed(Ok(Refreshed::new(Some(Duration::from_millis(1_500)))))),
        record(refreshed(Err(Refusal::forbidden("no")))),
        record(refreshed(Err(Refusal::unauthorized("over").with_code("token_expired")))),
        record(refreshed(Err(Refusal::new(RefusalKind::Unavailable, "later")))),
        record(Body::Revoke(Revocation::new("jti", std::time::SystemTime::now()))),
        record(explain(Some((crate::values::cursor::Epoch::new(7), Position::new(8))))),
        record(explain(None)),
        record(Body::Explained(explained(id))),
    ];
    records.extend(of_offline_users());
    records
}

fn of_offline_users() -> [Record; 3] {
    [
        record(Body::Decided(Checkpoint { term: 1, decided: Position::new(7), ..Checkpoint::default() })),
        record(Body::Decided(Checkpoint {
            term: 2,
            decided: Position::new(9),
            open: vec![Position::new(8)],
            words: vec![Word(0, u64::MAX, 0)],
            released: true,
        })),
        record(Body::Taken(Taken {
            epoch: Epoch::new(u64::MAX),
            reached: Position::new(9),
            words: vec![Word(3, 1, 2)],
            open: vec![(Position::new(8), Flags { settled: true, matched: false })],
        })),
    ]
}

fn refreshed(outcome: Result<Refreshed, Refusal>) -> Body {
    Body::Refreshed { request: EventId::random(), outcome }
}

fn explain(place: Option<(crate::values::cursor::Epoch, Position)>) -> Body {
    let [request, event] = [(); 2].map(|()| EventId::random());
    Body::Explain(ExplainAsk { request, event, place, user: "ann".into(), tenant: Some("acme".into()) })
}

/// An answer with fates of each kind, with and without a reason.
fn explained(connection: crate::values::connection::ConnectionId) -> NodeAnswer {
    let node = NodeInfo::new(NodeId::random());
    let at = Position::new(9);
    let fates = [
        Fate::Written,
        Fate::NotMatched { why: Mismatch::Room },
        Fate::Dropped { why: DropReason::Lost { from: at, until: at } },
        Fate::Acknowledged { by: Acknowledgement::Resumed(connection) },
        Fate::Unknown { why: Unknown::Silent { node: node.clone() } },
        Fate::Unknown { why: Unknown::NotInLog { since_ms: None } },
    ];
    let connections = fates
        .map(|fate| Explained::new(node.id, connection, "ws", at, fate).with_end(8, at, CloseReason::kicked("enough")));
    let (request, connections) = (EventId::random(), connections.into());
    NodeAnswer { request, started_ms: None, forgotten_ms: Some(2), keeps: true, more: 3, connections }
}

/// A report with items of every kind; two with payloads, one with attached bytes.
fn report(connection: crate::values::connection::ConnectionId) -> Report {
    let settled = |payload| {
        let (provider, elapsed) = ("ws".into(), Duration::from_millis(5));
        Item::Settled(Settled { connection, provider, status: AckStatus::Answered, elapsed, payload })
    };
    let attached = InboundPayload::with_attachments(r#"[{"_placeholder":true,"num":0}]"#, vec!["bytes".into()]);
    let items = vec![
        Item::Expected { connection, provider: "ws".into() },
        settled(InboundPayload::json_text("[1]")),
        settled(attached),
        settled(InboundPayload::json_text("null")),
        Item::Closed(7),
        Item::End,
    ];
    Report { record: EventId::random(), first: 2, items }
}

#[test]
fn every_body_survives_its_bytes() {
    for record in all() {
        assert_eq!(decode(record.bytes()), Ok(record));
    }
}

#[test]
fn record_is_written_behind_other_bytes_and_keeps_none() {
    for record in all() {
        let mut bytes = b"before".to_vec();
        record.write_to(&mut bytes);
        assert!(record.encoded.get().is_none());
        assert_eq!(bytes, [b"before", &**record.bytes()].concat());
        bytes.clear();
        record.write_to(&mut bytes);
        assert_eq!(bytes, **record.bytes(), "with bytes that are kept");
    }
}

#[test]
fn providers_survive_encoding_whether_all_or_named() {
    let mut record = record(Body::Join { member: Member::bare("u"), room: "r".into() });
    record.providers = Providers::ALL;
    assert_eq!(decode(record.bytes()), Ok(record));
    assert!(
        Providers::ALL.contains("ws") && Providers::one("ws").contains("ws") && !Providers::one("ws").contains("sse")
    );
}

/// Returns the bytes of a record whose header has been changed.
fn with_header(record: &Record, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Bytes {
    let bytes = record.bytes();
    let end = PREFIX + u32::from_be_bytes(bytes[LENGTH].try_into().unwrap()) as usize;
    let mut header = serde_json::from_slice(&bytes[PREFIX..end]).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    [&bytes[..2], &(header.len() as u32).to_be_bytes(), &header, &bytes[end..]].concat().into()
}

#[test]
fn record_is_read_with_a_trace_and_without_one() {
    let event = Event::json("e", &1).unwrap();
    let of = |event| Body::Event { target: Target::all(), event, widen: false };
    let mut plain = record(of(event.clone()));
    // As an older node writes it, and as it would read it: the field is unknown there.
    assert!(!String::from_utf8_lossy(plain.bytes()).contains("trace"));
    let traced = event.with_trace(TraceContext::parse(PARENT, Some("a=b")).unwrap());
    let newer = Record::new(plain.id, plain.node, plain.providers.clone(), of(traced.clone()));
    assert_eq!(newer.bytes()[..2], plain.bytes()[..2], "older nodes read it");
    let unknown = with_header(&plain, |header| {
        header.insert("more".to_owned(), "unknown".into());
    });
    assert_eq!(decode(&unknown).as_ref(), Ok(&plain));
    let added = with_header(&plain, |header| {
        header.extend([("traceparent".to_owned(), PARENT.into()), ("tracestate".to_owned(), "a=b".into())]);
    });
    plain.body = of(traced);
    assert_eq!(decode(&added).as_ref(), Ok(&plain));
}

#[test]
fn malformed_trace_of_a_record_is_ignored() {
    let plain = record(Body::Event { target: Target::all(), event: Event::json("e", &1).unwrap(), widen: false });
    for malformed in ["", "00", &PARENT.to_uppercase(), &PARENT.replace("4bf9", "xyz9"), &format!("{PARENT}-")] {
        let bytes = with_header(&plain, |header| {
            header.extend([("traceparent".to_owned(), malformed.into()), ("tracestate".to_owned(), "a=b".into())]);
        });
        assert_eq!(decode(&bytes).as_ref(), Ok(&plain), "{malformed:?}");
    }
    let join = record(Body::Join { member: Member::bare("u"), room: "r".into() });
    let bytes = with_header(&join, |header| {
        header.insert("traceparent".to_owned(), PARENT.into());
    });
    assert_eq!(decode(&bytes), Ok(join), "only what is sent has a trace");
}

#[test]
fn truncated_or_unknown_envelope_is_an_error() {
    for record in all() {
        let bytes = record.bytes().clone();
        let header_end = PREFIX + u32::from_be_bytes(bytes[LENGTH].try_into().unwrap()) as usize;
        for end in 0..header_end {
            assert_eq!(decode(&bytes.slice(..end)), Err(EnvelopeError::Malformed), "cut at {end}");
        }
        let mut newer = bytes.to_vec();
        newer[..2].copy_from_slice(&[READS + 1, 0]);
        assert_eq!(decode(&newer.clone().into()), Err(EnvelopeError::Version { needs: READS + 1 }));
        newer[1] = SKIPPABLE;
        assert_eq!(decode(&newer.into()), Err(EnvelopeError::Skippable { needs: READS + 1 }));
    }
    assert_eq!(decode(&Bytes::from_static(&[1, 0, 255, 255, 255, 255])), Err(EnvelopeError::Malformed));
}
