//! Clients that violate the protocol: they are closed with a code and counted, without affecting
//! others.

use std::time::Duration;

use crate::support::{Raw, Server, frame};
use futures_util::SinkExt;
use realtime_core::{CloseReason, Handlers, InboundRate, Limits, Reply};
use realtime_testkit::{eventually, in_time};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: usize = 1024 * 1024;

/// Starts a server without a rate, which would hold floods back before they break a rule.
async fn server() -> Server {
    let limits = Limits::default().with_inbound_per_connection(InboundRate::unlimited());
    echo_server(WsConfig::default().with_limits(limits)).await
}

async fn echo_server(config: WsConfig) -> Server {
    Server::start(WsProvider::new(config).on("echo", async |_, value: Value| Reply(value))).await
}

/// Asserts that a connection that sends these bytes is closed with this reason and counted under
/// this code, without affecting another client.
async fn closes(bytes: &[u8], reason: CloseReason, counted: &str) {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let mut raw = server.raw("bad").await;
    // The server ignores the rest, but reads it so that its close frame is not lost.
    raw.write(bytes).await;
    assert_eq!(raw.closed().await, reason.code());
    drop(raw);
    assert_eq!(server.hooks.close_of("bad").await, reason);
    let stats = server.stats();
    assert_eq!((stats.rejected[counted], stats.rejected.len(), stats.connections), (1, 1, 1));
    server.check(&mut healthy).await;
}

/// Returns an envelope of exactly this many bytes.
fn envelope(length: usize) -> Vec<u8> {
    let empty = json!({"type": "echo", "ack": 1, "payload": ""}).to_string();
    json!({"type": "echo", "ack": 1, "payload": "x".repeat(length - empty.len())}).to_string().into_bytes()
}

#[tokio::test]
async fn message_of_the_limit_is_accepted_and_one_byte_more_is_not() {
    let server = server().await;
    let mut raw = server.raw("ann").await;
    raw.write(&frame(0x81, &envelope(LIMIT))).await;
    assert_eq!(raw.frame().await.0, 0x81, "the welcome");
    let (first, answer) = raw.frame().await;
    assert_eq!(first, 0x81);
    assert!(answer.starts_with(br#"{"type":"ack","ack":1,"payload":"xxx"#));
    closes(&frame(0x81, &envelope(LIMIT + 1)), CloseReason::TOO_LARGE, "too_large").await;
}

#[tokio::test]
async fn message_of_100_megabytes_is_rejected_by_its_header() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("bad").await;
    // A client that sends everything before it reads, as browsers and most libraries do.
    let huge = Message::text("x".repeat(100 * 1024 * 1024));
    let sent = in_time("a write", client.socket.send(huge)).await;
    assert_eq!(client.closed().await, (1009, "message too large".to_owned()), "{sent:?}");
    assert_eq!(server.hooks.close_of("bad").await, CloseReason::TOO_LARGE);
    assert_eq!(server.stats().bytes_in, 0);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn fragments_of_a_message_are_bounded_together() {
    let whole = envelope(LIMIT + 1);
    let (first, second) = whole.split_at(LIMIT / 2);
    let flood = [frame(0x01, b"x"), frame(0x00, &[b'x'; 1000]).repeat(2 * LIMIT / 1000)].concat();
    let empty = [frame(0x02, b""), frame(0x00, b"").repeat(500_000)].concat();
    for bytes in [[frame(0x01, first), frame(0x80, second)].concat(), flood, empty] {
        closes(&bytes, CloseReason::TOO_LARGE, "too_large").await;
    }
}

#[tokio::test]
async fn invalid_utf8_has_its_close_code() {
    let texts: [&[u8]; 4] = [b"\xff", b"{\"type\":\"\xc3\x28\"}", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"];
    for text in texts {
        closes(&frame(0x81, text), CloseReason::INVALID_UTF8, "invalid_utf8").await;
    }
    let fragments = [frame(0x01, b"\xc3"), frame(0x80, b"(")].concat();
    closes(&fragments, CloseReason::INVALID_UTF8, "invalid_utf8").await;
}

#[tokio::test]
async fn protocol_violation_has_its_close_code() {
    let wrong: [&[u8]; 8] = [
        // Not masked.
        b"\x81\x02hi",
        // Reserved bits and opcodes.
        &frame(0xc1, b"a"),
        &frame(0x83, b"a"),
        &frame(0x8b, b"a"),
        // A continuation of nothing; a message within another; a fragmented ping; a long ping.
        &frame(0x80, b"a"),
        &[frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        &frame(0x09, b"a"),
        &frame(0x89, &[0; 126]),
    ];
    for bytes in wrong {
        closes(bytes, CloseReason::PROTOCOL_ERROR, "protocol_error").await;
    }
}

#[tokio::test]
async fn close_frame_arrives_while_the_client_still_sends() {
    // A socket that is closed with unread bytes is reset, and the close frame is lost.
    let server = server().await;
    let mut raw = server.raw("bad").await;
    let mut bytes = frame(0xc1, b"a");
    bytes.resize(8 * 1024 * 1024, b'x');
    raw.write(&bytes).await;
    assert_eq!(raw.closed().await, 1002);
    // The server waits only for the client's close frame and EOF.
    raw.write(&frame(0x88, b"\x03\xea")).await;
    drop(raw);
    assert_eq!(server.hooks.close_of("bad").await, CloseReason::PROTOCOL_ERROR);
}

#[tokio::test]
async fn disconnect_within_a_frame_is_connection_lost() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let whole = frame(0x81, &envelope(1000));
    for sent in [1, 2, 5, 8, 500] {
        let mut raw = server.raw(&format!("bad{sent}")).await;
        raw.write(&whole[..sent]).await;
        drop(raw);
        assert_eq!(server.hooks.close_of(&format!("bad{sent}")).await, CloseReason::CONNECTION_LOST, "{sent} bytes");
    }
    // A reset has the same reason.
    let raw = server.raw("reset").await;
    raw.stream.set_zero_linger().unwrap();
    drop(raw);
    assert_eq!(server.hooks.close_of("reset").await, CloseReason::CONNECTION_LOST);
    assert_eq!(server.stats().connections, 1);
    assert_eq!(server.stats().events_in, 0);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn close_frame_of_a_client_is_answered_with_its_code() {
    let server = server().await;
    for (user, payload) in [("none", &b""[..]), ("normal", b"\x03\xe8bye"), ("own", b"\x0f\xa0")] {
        let mut raw = server.raw(user).await;
        raw.write(&frame(0x88, payload)).await;
        raw.frame().await;
        assert_eq!(raw.frame().await, (0x88, payload.to_vec()));
        assert_eq!(server.hooks.close_of(user).await, CloseReason::NORMAL);
    }
    // A code that must not be sent (RFC 6455 §7.4.1).
    let mut raw = server.raw("wrong").await;
    raw.write(&frame(0x88, b"\x03\xee")).await;
    assert_eq!(raw.closed().await, 1002);
}

#[tokio::test]
async fn unread_pongs_pause_reading_without_affecting_others() {
    let server = server().await;
    let mut healthy = server.client("healthy").await;
    let raw = server.raw("bad").await;
    let Raw { stream } = raw;
    let (mut reader, mut writer) = stream.into_split();
    // More pongs than both sides' buffers hold: unread, they pause the server's reading of this
    // connection only.
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
        pongs += in_time("pongs", tokio::io::AsyncReadExt::read(&mut reader, &mut buffer)).await.unwrap();
    }
    drop(reader);
    drop(in_time("the end of the flood", flood).await.unwrap());
    server.hooks.close_of("bad").await;
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn unread_errors_close_the_connection() {
    let server = echo_server(WsConfig::default().with_write_stall(Duration::from_millis(500))).await;
    let mut healthy = server.client("healthy").await;
    let mut raw = server.raw("bad").await;
    // Each message is answered with an error, which the client does not read.
    let nonsense = frame(0x81, b"?").repeat(10_000);
    in_time("a close", async {
        while server.hooks.closes("bad").is_empty() {
            tokio::select! {
                written = raw.stream.write_all(&nonsense) => if written.is_err() { break },
                () = eventually("a close", || !server.hooks.closes("bad").is_empty()) => break,
            }
        }
    })
    .await;
    assert_eq!(server.hooks.close_of("bad").await, CloseReason::WRITE_STALL);
    assert!(server.stats().rejected["invalid_json"] > 0);
    server.check(&mut healthy).await;
}
