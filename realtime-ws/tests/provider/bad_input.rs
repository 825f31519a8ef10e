//! Clients that break the protocol: a close code for them, a count for the operator, nothing for the others.

use std::time::Duration;

use crate::support::{Raw, Server, eventually, frame, within};
use futures_util::SinkExt;
use realtime_core::{CloseReason, Handlers, Reply};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: usize = 1024 * 1024;

async fn server() -> Server {
    echo_server(WsConfig::default()).await
}

async fn echo_server(config: WsConfig) -> Server {
    Server::start(WsProvider::new(config).on("echo", async |_, value: Value| Reply(value))).await
}

/// Sends bytes on a new connection, which is to end with this reason; another client notices nothing.
async fn ends(bytes: &[u8], reason: CloseReason, counted: &str) {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let mut raw = server.raw("bad").await;
    // The server may have stopped listening meanwhile, but reads on so that its goodbye is not lost.
    raw.write(bytes).await;
    assert_eq!(raw.closed().await, reason.code());
    drop(raw);
    assert_eq!(server.seen.end_of("bad").await, reason);
    let stats = server.stats();
    assert_eq!((stats.rejected[counted], stats.rejected.len(), stats.connections), (1, 1, 1));
    server.check(&mut healthy).await;
}

/// An envelope of exactly this many bytes.
fn envelope(length: usize) -> Vec<u8> {
    let empty = json!({"type": "echo", "ack": 1, "payload": ""}).to_string();
    json!({"type": "echo", "ack": 1, "payload": "x".repeat(length - empty.len())}).to_string().into_bytes()
}

#[tokio::test]
async fn a_message_may_have_the_limit_and_not_one_byte_more() {
    let server = server().await;
    let mut raw = server.raw("ann").await;
    raw.write(&frame(0x81, &envelope(LIMIT))).await;
    assert_eq!(raw.frame().await.0, 0x81, "the welcome");
    let (first, answer) = raw.frame().await;
    assert_eq!(first, 0x81);
    assert!(answer.starts_with(br#"{"type":"ack","ack":1,"payload":"xxx"#));
    ends(&frame(0x81, &envelope(LIMIT + 1)), CloseReason::TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn fragments_count_together() {
    let whole = envelope(LIMIT + 1);
    let (first, second) = whole.split_at(LIMIT / 2);
    let bytes = [frame(0x01, first), frame(0x80, second)].concat();
    ends(&bytes, CloseReason::TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_by_their_header() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("bad").await;
    // A client that sends it all before it reads, as browsers and most libraries do.
    let huge = Message::text("x".repeat(100 * 1024 * 1024));
    let sent = within(client.socket.send(huge)).await;
    assert_eq!(client.closed().await, (1009, "message too large".to_owned()), "{sent:?}");
    assert_eq!(server.seen.end_of("bad").await, CloseReason::TOO_LARGE);
    assert_eq!(server.stats().bytes_in, 0);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn a_flood_of_fragments_ends() {
    let mut bytes = frame(0x01, b"x");
    for _ in 0..2 * LIMIT / 1000 {
        bytes.extend(frame(0x00, &[b'x'; 1000]));
    }
    ends(&bytes, CloseReason::TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn a_flood_of_empty_fragments_ends() {
    let mut bytes = frame(0x02, b"");
    bytes.extend(frame(0x00, b"").repeat(500_000));
    ends(&bytes, CloseReason::TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn invalid_utf8_has_its_code() {
    let texts: [&[u8]; 4] = [b"\xff", b"{\"type\":\"\xc3\x28\"}", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"];
    for text in texts {
        ends(&frame(0x81, text), CloseReason::INVALID_UTF8, "invalid_utf8").await;
    }
    let cut = [frame(0x01, b"\xc3"), frame(0x80, b"(")].concat();
    ends(&cut, CloseReason::INVALID_UTF8, "invalid_utf8").await;
}

#[tokio::test]
async fn a_broken_protocol_has_its_code() {
    let wrong: [&[u8]; 8] = [
        // Not masked.
        b"\x81\x02hi",
        // Reserved bits and opcodes.
        &frame(0xc1, b"a"),
        &frame(0x83, b"a"),
        &frame(0x8b, b"a"),
        // A continuation of nothing; a new message within another; a ping in pieces; one too long.
        &frame(0x80, b"a"),
        &[frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        &frame(0x09, b"a"),
        &frame(0x89, &[0; 126]),
    ];
    for bytes in wrong {
        ends(bytes, CloseReason::PROTOCOL_ERROR, "protocol_error").await;
    }
}

#[tokio::test]
async fn the_goodbye_arrives_although_the_client_sends_on() {
    // Bytes left unread when a socket is closed make the system reset it, and the close frame with it.
    let server = server().await;
    let mut raw = server.raw("bad").await;
    let mut bytes = frame(0xc1, b"a");
    bytes.resize(8 * 1024 * 1024, b'x');
    raw.write(&bytes).await;
    assert_eq!(raw.closed().await, 1002);
    // The client's answer, and its end, are all that is waited for.
    raw.write(&frame(0x88, b"\x03\xea")).await;
    drop(raw);
    assert_eq!(server.seen.end_of("bad").await, CloseReason::PROTOCOL_ERROR);
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_frame_is_lost() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let whole = frame(0x81, &envelope(1000));
    for cut in [1, 2, 5, 8, 500] {
        let mut raw = server.raw(&format!("bad{cut}")).await;
        raw.write(&whole[..cut]).await;
        drop(raw);
        assert_eq!(server.seen.end_of(&format!("bad{cut}")).await, CloseReason::CONNECTION_LOST, "cut {cut}");
    }
    // A reset is the same.
    let raw = server.raw("reset").await;
    raw.stream.set_zero_linger().unwrap();
    drop(raw);
    assert_eq!(server.seen.end_of("reset").await, CloseReason::CONNECTION_LOST);
    assert_eq!(server.stats().connections, 1);
    assert_eq!(server.stats().events_in, 0);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn a_clients_goodbye_is_answered_with_its_code() {
    let server = server().await;
    for (user, payload) in [("none", &b""[..]), ("normal", b"\x03\xe8bye"), ("own", b"\x0f\xa0")] {
        let mut raw = server.raw(user).await;
        raw.write(&frame(0x88, payload)).await;
        raw.frame().await;
        assert_eq!(raw.frame().await, (0x88, payload.to_vec()));
        assert_eq!(server.seen.end_of(user).await, CloseReason::NORMAL);
    }
    // A code that may not be sent (RFC 6455 §7.4.1).
    let mut raw = server.raw("wrong").await;
    raw.write(&frame(0x88, b"\x03\xee")).await;
    assert_eq!(raw.closed().await, 1002);
}

#[tokio::test]
async fn pings_are_answered_as_long_as_the_answers_are_read() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let raw = server.raw("bad").await;
    let Raw { stream } = raw;
    let (mut reader, mut writer) = stream.into_split();
    // More pongs than both sides' buffers hold: unread, they stop the server's reading and not the server.
    let ping = frame(0x89, &[7; 125]).repeat(1000);
    let flood = tokio::spawn(async move {
        for _ in 0..100 {
            if writer.write_all(&ping).await.is_err() {
                break;
            }
        }
        writer
    });
    for _ in 0..50 {
        server.check(&mut healthy).await;
    }
    let mut pongs = 0usize;
    let mut buffer = vec![0; 64 * 1024];
    while pongs < 100_000 * 127 {
        pongs += within(tokio::io::AsyncReadExt::read(&mut reader, &mut buffer)).await.unwrap();
    }
    drop(reader);
    drop(within(flood).await.unwrap());
    server.seen.end_of("bad").await;
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn errors_that_are_never_read_end_the_connection_and_nothing_grows() {
    let server = echo_server(WsConfig::default().with_write_stall(Duration::from_millis(500))).await;
    let mut healthy = server.client("healthy").await;
    let mut raw = server.raw("bad").await;
    // Each is answered with an error; nobody reads them.
    let nonsense = frame(0x81, b"?").repeat(10_000);
    within(async {
        while !server.seen.went.lock().unwrap().iter().any(|(user, _)| user == "bad") {
            tokio::select! {
                written = raw.stream.write_all(&nonsense) => if written.is_err() { break },
                () = eventually(|| !server.seen.went.lock().unwrap().is_empty()) => break,
            }
        }
    })
    .await;
    assert_eq!(server.seen.end_of("bad").await, CloseReason::WRITE_STALL);
    assert!(server.stats().rejected["invalid_json"] > 0);
    server.check(&mut healthy).await;
}
