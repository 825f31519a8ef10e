//! Malformed packets and frames: the client's session is closed with a reason, other sessions are
//! not affected.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use realtime_core::{CloseReason, Context, Handlers, Reply, Target};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Websocket, Wire, eventually, in_time};

fn text(text: &str) -> Packet {
    Packet::Text(text.to_owned())
}

/// A healthy client that must not be affected.
struct Healthy(Client, u64);

impl Healthy {
    async fn connect(server: &Server) -> Self {
        Self(server.client(Transport::Websocket, "healthy").await.0, 0)
    }

    async fn check(&mut self, server: &Server) {
        self.1 += 1;
        server.send(Target::user("healthy"), "n", self.1).await;
        assert_eq!(self.0.event("n").await, self.1);
    }
}

#[tokio::test]
async fn malformed_packets_close_the_session() {
    let server = Server::start().await;
    let mut healthy = Healthy::connect(&server).await;
    let holder = || text(r#"451-["b",{"_placeholder":true,"num":0}]"#);
    let bytes = || Packet::Binary(Bytes::from_static(b"x"));
    let cases = [
        vec![text("garbage")],
        vec![text("9")],
        vec![text("4")],
        vec![text("49")],
        vec![text("42")],
        vec![text("42[")],
        vec![text("42{}")],
        vec![text("42[]")],
        vec![text("42[null]")],
        vec![text("42[{}]")],
        vec![text("42[\"a\"")],
        vec![text("42[\"a\",nul]")],
        vec![text("42[\"a\"]x")],
        vec![text("44{}")],
        vec![holder(), text("42[\"a\"]")],
        vec![text("4599999999-[\"b\"]")],
        vec![text("45-1-[\"b\"]"), bytes()],
        vec![bytes()],
    ];
    let count = cases.len() as u64;
    for transport in TRANSPORTS {
        for packets in &cases {
            let (mut client, id) = server.client(transport, "ann").await;
            client.send_all(packets.clone()).await;
            let closed = client.closed().await;
            assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR, "{packets:?}");
            let code = (transport == Transport::Websocket).then_some(1002);
            assert_eq!(closed.code, code, "{packets:?}");
        }
        healthy.check(&server).await;
    }
    assert_eq!(server.stats().rejected.get("protocol_error"), Some(&(2 * count)));
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn invalid_payload_gets_error_and_session_stays_open() {
    let setup = Setup::default().with_handlers(|provider| provider.on("n", async |_: Context, n: u64| Reply(n)));
    let server = setup.start().await;
    let deep = |depth: usize| -> String { format!("{}1{}", "[".repeat(depth), "]".repeat(depth)) };
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for (packet, code) in [
            (r#"421["n","x"]"#.to_owned(), "invalid_payload"),
            (r#"421["n",1,2]"#.to_owned(), "invalid_payload"),
            (r#"421["n"]"#.to_owned(), "invalid_payload"),
            (r#"421["unheard of",1]"#.to_owned(), "unknown_event"),
            (r#"421["",1]"#.to_owned(), "invalid_name"),
            (format!(r#"421["n",{}]"#, deep(200)), "too_deep"),
            (format!(r#"421["n",{}]"#, deep(100_000)), "too_deep"),
        ] {
            client.send(&packet).await;
            assert_eq!(client.ack(1).await[0]["error"]["code"], code, "{packet:.60}");
        }
        client.send(&format!(r#"42["n",{}]"#, deep(65))).await;
        assert_eq!(client.event("error").await["code"], "too_deep");
        client.emit("n", &[json!(1)], Some(2)).await;
        assert_eq!(client.ack(2).await, json!([1]));
    }
    assert_eq!(server.stats().rejected.get("too_deep"), Some(&6));
}

#[tokio::test]
async fn event_before_connect_closes_the_session() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.emit("n", &[json!(1)], None).await;
        client.closed().await;
    }
    assert_eq!(server.stats().events_in, 0);
}

/// Returns the websocket of a client, for bytes that a client would not send.
fn raw(client: Client) -> Box<Websocket> {
    match client.wire {
        Wire::Websocket(websocket) => websocket,
        Wire::Polling(_) => panic!("not a websocket"),
    }
}

/// Returns a masked frame whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn malformed_websocket_frame_is_closed_with_1002() {
    let server = Server::start().await;
    let mut healthy = Healthy::connect(&server).await;
    let cases = [
        ("invalid utf-8", frame(0x81, b"42[\"\xff\xfe\"]")),
        ("a reserved bit", frame(0xc1, b"42[\"a\"]")),
        ("a reserved opcode", frame(0x83, b"x")),
        ("no mask", vec![0x81, 1, b'2']),
        ("a fragmented ping", frame(0x09, b"x")),
        ("a continuation of nothing", frame(0x80, b"x")),
        ("a new message within another", [frame(0x01, b"4"), frame(0x81, b"2")].concat()),
    ];
    let count = cases.len() as u64;
    for (case, bytes) in cases {
        let (client, id) = server.client(Transport::Websocket, "ann").await;
        let mut websocket = raw(client);
        websocket.0.get_mut().write_all(&bytes).await.unwrap();
        assert_eq!(websocket.closed().await.code, Some(1002), "{case}");
        assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR, "{case}");
        healthy.check(&server).await;
    }
    assert_eq!(server.stats().rejected.get("protocol_error"), Some(&count));
}

#[tokio::test]
async fn connection_that_ends_within_a_frame_is_lost() {
    let server = Server::start().await;
    for bytes in [&b"\x81"[..], &frame(0x81, b"42[\"a\"]")[..8], b""] {
        let (client, id) = server.client(Transport::Websocket, "ann").await;
        let mut websocket = raw(client);
        websocket.0.get_mut().write_all(bytes).await.unwrap();
        drop(websocket);
        assert_eq!(server.ended(id).await, CloseReason::CONNECTION_LOST);
    }
    assert_eq!(server.stats().rejected.len(), 0);
}

#[tokio::test]
async fn orderly_disconnect_is_no_fault() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        for packet in ["41", "1"] {
            let (mut client, id) = server.client(transport, "ann").await;
            client.send(packet).await;
            assert_eq!(server.ended(id).await, CloseReason::NORMAL, "{packet}");
        }
    }
    let (client, id) = server.client(Transport::Websocket, "ann").await;
    raw(client).0.close(None).await.unwrap();
    assert_eq!(server.ended(id).await, CloseReason::NORMAL);
    assert_eq!(server.stats().rejected.len(), 0);
}

#[tokio::test]
async fn concurrent_requests_of_a_method_close_the_session() {
    let server = Server::start().await;
    // Two GETs.
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let Wire::Polling(polling) = &client.wire else { unreachable!() };
    let get = || async { polling.http.get(&polling.url).send().await.unwrap().status() };
    // A GET ends immediately if packets are waiting, so GETs are repeated until two overlap.
    let mut under_way = FuturesUnordered::from_iter([get(), get()]);
    in_time("a refusal", async {
        while under_way.next().await != Some(StatusCode::BAD_REQUEST) {
            under_way.push(get());
        }
    })
    .await;
    assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR);
    // Two POSTs, the first of which never ends.
    let (client, id) = server.client(Transport::Polling, "ann").await;
    let Wire::Polling(polling) = &client.wire else { unreachable!() };
    let path = polling.path();
    let mut endless = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n42[\"join\",\"r\"]\u{1e}4");
    endless.write_all(head.as_bytes()).await.unwrap();
    // Once its first packet was read, the POST is under way.
    eventually("the first packet", || server.stats().events_in == 1).await;
    assert_eq!(polling.post("3").await.unwrap(), 400);
    assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR);
}
