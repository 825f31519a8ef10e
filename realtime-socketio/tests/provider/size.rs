//! Messages at the limit, over it, and far over it.

use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider, Reply, Target};
use realtime_socketio::{DirectAdapter, SocketIoConfig};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, SocketRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, event, in_time};

const LIMIT: usize = 10_000;

async fn server() -> Server {
    let config = SocketIoConfig::default().with_max_message_bytes(LIMIT);
    let setup = Setup::from(config).with_handlers(|provider| {
        provider.on("e", async |_: Context, _: Value| Reply(true)).on_raw("up", async |_, _| Reply(true))
    });
    setup.start().await
}

/// Returns an event as an Engine.IO packet of this size, with the ack id 1.
fn packet(bytes: usize) -> String {
    let head = r#"421["e",""#;
    format!(r#"{head}{}"]"#, "x".repeat(bytes - head.len() - 2))
}

async fn check_too_large(server: &Server, client: &mut Client, id: realtime_core::ConnectionId) {
    let closed = client.closed().await;
    if let Wire::Websocket(_) = client.wire {
        assert_eq!(closed.code, Some(1009));
    }
    assert_eq!(server.ended(id).await, CloseReason::TOO_LARGE);
}

#[tokio::test]
async fn websocket_message_one_byte_over_limit_is_rejected() {
    let server = server().await;
    let (mut client, id) = server.client(Transport::Websocket, "ann").await;
    client.send(&packet(LIMIT)).await;
    assert_eq!(client.ack(1).await, json!([true]));
    client.send(&packet(LIMIT + 1)).await;
    check_too_large(&server, &mut client, id).await;
    assert_eq!(server.stats().rejected.get("too_large"), Some(&1));
}

#[tokio::test]
async fn post_one_byte_over_limit_is_rejected() {
    let server = server().await;
    for chunked in [false, true] {
        let (mut client, id) = server.client(Transport::Polling, "ann").await;
        client.send(&packet(LIMIT)).await;
        assert_eq!(client.ack(1).await, json!([true]));
        let Wire::Polling(polling) = &client.wire else { unreachable!() };
        let over = packet(LIMIT + 1);
        let status = if chunked {
            let chunks: Vec<_> = over.as_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
            let stream = futures_util::stream::iter(chunks).map(Ok::<_, std::io::Error>);
            polling.post(reqwest::Body::wrap_stream(stream)).await
        } else {
            polling.post(over).await
        };
        assert_eq!(status.unwrap(), 413);
        check_too_large(&server, &mut client, id).await;
    }
    assert_eq!(server.stats().rejected.get("too_large"), Some(&2));
}

/// The size of a packet that is rewritten for socketioxide counts as the client has sent it.
#[tokio::test]
async fn rewritten_packet_may_be_as_large_as_the_limit() {
    let server = server().await;
    server.provider.io().ns("/own", async |socket: SocketRef<DirectAdapter>| {
        socket.on_fallback(async |ack: AckSender<DirectAdapter>| ack.send(&true).unwrap());
    });
    let filled = |begin: &str, bytes: usize| format!("{begin}{}\"]", "x".repeat(bytes - begin.len() - 2));
    let escapes = format!(r#"42/own,2["{}",""#, r"\n".repeat(100));
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        client.connect("/own", &json!({})).await.expect("accepted");
        let events = server.stats().events_in;
        for begin in [r#"42["\u0065",""#, r#"42/,["\u0065",""#, r#"421["\u0065",""#, r#"43[""#, escapes.as_str()] {
            client.send(&filled(begin, LIMIT)).await;
            if let Wire::Websocket(websocket) = &mut client.wire {
                // In two frames, of which the first one is enough to decide.
                let packet = filled(begin, LIMIT);
                let (first, last) = packet.split_at(begin.len() + 10);
                websocket.send_parts(&[first.as_bytes(), last.as_bytes()]).await.unwrap();
            }
            client.emit("e", &[json!(1)], Some(7)).await;
            let mut answers = Vec::new();
            while answers.last() != Some(&Some(7)) {
                let message = client.message().await;
                assert_eq!((message.kind, message.data), (3, json!([true])), "{begin}");
                answers.push(message.id);
            }
        }
        let sent = if transport == Transport::Polling { 8 } else { 11 };
        assert_eq!(server.stats().events_in - events, sent, "{transport:?}");
        client.send(&filled(r#"421["\u0065",""#, LIMIT + 1)).await;
        check_too_large(&server, &mut client, id).await;
    }
}

/// All of them may be in one read.
#[tokio::test]
async fn events_before_an_oversized_message_are_handled() {
    let server = server().await;
    for begin in [r#"42["e",""#, r#"42["\u0065",""#] {
        let events = server.stats().events_in;
        let (mut client, id) = server.client(Transport::Websocket, "ann").await;
        let over = format!("{begin}{}\"]", "x".repeat(LIMIT + 1 - begin.len() - 2));
        let packets = [r#"42["e",1]"#, r#"42["\u0065",2]"#, &over, r#"42["e",3]"#];
        client.send_all(packets.map(|packet| Packet::Text(packet.to_owned())).to_vec()).await;
        // The close frame may be lost, as unread bytes cause a reset.
        client.closed().await;
        assert_eq!(server.ended(id).await, CloseReason::TOO_LARGE);
        assert_eq!(server.stats().events_in - events, 2);
    }
}

#[tokio::test]
async fn attachments_of_an_event_count_together() {
    let server = server().await;
    let header = |count: usize| {
        let holders: Vec<_> = (0..count).map(|num| json!({"_placeholder": true, "num": num})).collect();
        format!("45{count}-1{}", json!(["up", holders]))
    };
    let (mut client, id) = server.client(Transport::Websocket, "ann").await;
    client.send_binary(&header(2), &[&[7; 4000], &[7; 4000]]).await;
    assert_eq!(client.ack(1).await, json!([true]));
    client.send_binary(&header(2), &[&[7; 6000], &[7; 6000]]).await;
    client.closed().await;
    let reason = server.ended(id).await;
    assert!([CloseReason::TOO_LARGE, CloseReason::PROTOCOL_ERROR].contains(&reason), "{reason}");
    // More attachments than an event may have.
    let (mut client, id) = server.client(Transport::Websocket, "ann").await;
    client.send_binary(&header(65), &[&b""[..]; 65]).await;
    client.closed().await;
    assert_eq!(server.ended(id).await, CloseReason::PROTOCOL_ERROR);
}

#[tokio::test]
async fn fragments_of_a_message_count_together() {
    let server = server().await;
    let (client, id) = server.client(Transport::Websocket, "ann").await;
    let Wire::Websocket(mut websocket) = client.wire else { unreachable!() };
    // A text that never ends, in fragments of a byte.
    let mut flood = vec![0x01, 0x81, 0, 0, 0, 0, b'4'];
    for _ in 0..LIMIT {
        flood.extend([0x00, 0x81, 0, 0, 0, 0, b'2']);
    }
    // The connection may be reset before everything is written.
    let _ = websocket.0.get_mut().write_all(&flood).await;
    assert_eq!(websocket.closed().await.code, Some(1009));
    assert_eq!(server.ended(id).await, CloseReason::TOO_LARGE);
}

/// Spawns a task that writes this number of bytes, or until a write fails.
fn pour(mut into: tokio::net::tcp::OwnedWriteHalf, head: Vec<u8>, bytes: usize) {
    tokio::spawn(async move {
        let chunk = vec![b'x'; 64 * 1024];
        let mut sent = into.write_all(&head).await;
        for _ in 0..bytes / chunk.len() {
            if sent.is_err() {
                return;
            }
            sent = into.write_all(&chunk).await;
        }
    });
}

#[tokio::test]
async fn huge_websocket_message_is_rejected_early() {
    const HUGE: usize = 100_000_000;
    let server = Server::start().await;
    let (mut healthy, _) = server.client(Transport::Websocket, "bob").await;
    let (client, id) = server.client(Transport::Websocket, "ann").await;
    let Wire::Websocket(websocket) = client.wire else { unreachable!() };
    let (mut reader, writer) = websocket.0.into_inner().into_split();
    let mut head = vec![0x81, 0xff];
    head.extend((HUGE as u64).to_be_bytes());
    head.extend([0; 4]);
    pour(writer, head, HUGE);
    let mut read = Vec::new();
    let _ = in_time("the close", reader.read_to_end(&mut read)).await;
    assert!(read.ends_with(&[0x88, 2, 0x03, 0xf1]), "{read:?}");
    assert_eq!(server.ended(id).await, CloseReason::TOO_LARGE);
    server.deliver(&mut healthy, "bob", 1).await;
}

#[tokio::test]
async fn huge_post_is_rejected_early() {
    const HUGE: usize = 100_000_000;
    let server = Server::start().await;
    let (mut healthy, _) = server.client(Transport::Polling, "bob").await;
    for length in [format!("content-length: {HUGE}"), "transfer-encoding: chunked".to_owned()] {
        let (client, id) = server.client(Transport::Polling, "ann").await;
        let Wire::Polling(polling) = &client.wire else { unreachable!() };
        let path = polling.path();
        let (mut reader, writer) = tokio::net::TcpStream::connect(server.address()).await.unwrap().into_split();
        let chunk = if length.starts_with("transfer") { format!("{HUGE:x}\r\n") } else { String::new() };
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n{chunk}");
        pour(writer, head.into_bytes(), HUGE);
        let mut status = [0; 12];
        in_time("a response", reader.read_exact(&mut status)).await.unwrap();
        assert_eq!(std::str::from_utf8(&status).unwrap(), "HTTP/1.1 413");
        assert_eq!(server.ended(id).await, CloseReason::TOO_LARGE);
    }
    server.deliver(&mut healthy, "bob", 1).await;
}

/// An event of the server may be far larger than a message of a client.
#[tokio::test]
async fn large_events_are_delivered_completely() {
    let large = "x".repeat(8 * 1024 * 1024);
    let small = Server::start().await;
    let sent = small.provider.broadcast().to_all(event("large", "x".repeat(1024 * 1024))).await;
    assert!(matches!(sent, Err(realtime_core::Error::TooLarge { limit: 1_048_576, .. })), "1 MiB by default: {sent:?}");
    let server = Setup::from(SocketIoConfig::default().with_max_event_bytes(16 * 1024 * 1024usize)).start().await;
    for transport in crate::TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        server.send(Target::user("ann"), "large", &large).await;
        server.send(Target::user("ann"), "n", 1).await;
        assert!(tokio::time::timeout(Duration::from_secs(30), client.event("large")).await.unwrap() == large.as_str());
        assert_eq!(client.event("n").await, 1);
        server.leave(&mut client, id).await;
    }
}
