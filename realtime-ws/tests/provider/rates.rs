//! Clients that send more than their rate.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Server, frame};
use futures_util::StreamExt;
use realtime_core::{Context, Handlers, InboundRate, Limits, Reply};
use realtime_testkit::{eventually, in_time};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

type Seen = Arc<Mutex<Vec<u64>>>;

/// Starts a server with this rate of a connection, and the numbers that its handler gets.
async fn start(rate: InboundRate, config: WsConfig) -> (Server, Seen) {
    let seen = Seen::default();
    let numbers = Arc::clone(&seen);
    let provider = WsProvider::new(config.with_limits(Limits::default().with_inbound_per_connection(rate)))
        .on("echo", async |_: Context, value: Value| Reply(value))
        .on("count", move |_: Context, n: u64| {
            numbers.lock().unwrap().push(n);
            std::future::ready(())
        });
    (Server::start(provider).await, seen)
}

fn count(n: u64) -> Vec<u8> {
    frame(0x81, format!(r#"{{"type":"count","payload":{n}}}"#).as_bytes())
}

#[tokio::test]
async fn flood_is_handled_in_order_while_others_are_answered() {
    let rate = InboundRate::default().with_events_per_second(100).with_events_burst(20);
    let (server, seen) = start(rate, WsConfig::default()).await;
    let mut healthy = server.client("healthy").await;
    let mut flooder = server.raw("ann").await;
    let all: Vec<u8> = (0..300).flat_map(count).collect();
    flooder.write(&all).await;
    eventually("the client is held back", || server.stats().throttled_now == 1).await;
    server.check(&mut healthy).await;
    assert!(seen.lock().unwrap().len() < 300, "the flood is not read to its end yet");
    eventually("all are handled", || seen.lock().unwrap().len() == 300).await;
    assert_eq!(*seen.lock().unwrap(), (0..300).collect::<Vec<_>>());
    let stats = server.stats();
    assert!(stats.throttled > 0 && stats.connections == 2 && stats.unhandled == 0, "{stats:?}");
    assert_eq!(stats.throttled, stats.throttled_kinds["event"]);
}

#[tokio::test]
async fn client_that_never_stops_is_closed_with_1008() {
    let rate = InboundRate::default().with_events_per_second(50).with_patience(Duration::from_millis(500));
    let (server, _) = start(rate, WsConfig::default()).await;
    let mut healthy = server.client("healthy").await;
    let client = server.client("ann").await;
    let (mut sink, mut stream) = client.socket.split();
    let flood = async {
        use futures_util::SinkExt;
        while sink.send(Message::text(r#"{"type":"count","payload":1}"#)).await.is_ok() {}
    };
    let mut error = None;
    let watch = async {
        loop {
            match in_time("a message", stream.next()).await.expect("a close frame").unwrap() {
                Message::Text(text) => error = Some(serde_json::from_str::<Value>(&text).unwrap()),
                Message::Close(frame) => return frame.unwrap(),
                _ => {}
            }
        }
    };
    let closed = tokio::select! { closed = watch => closed, () = flood => panic!("no close frame was read") };
    assert_eq!(u16::from(closed.code), 1008);
    assert!(closed.reason.starts_with("rate_limited: more than 50 messages"), "{}", closed.reason);
    let error = error.expect("an error before the close");
    assert_eq!((&error["type"], &error["payload"]["code"]), (&json!("error"), &json!("rate_limited")));
    assert!(error["payload"]["message"].as_str().unwrap().contains("50 messages"), "{error}");
    let ended = server.hooks.close_of("ann").await;
    assert_eq!(ended.code(), 1008);
    assert_eq!(server.stats().rate_limited, 1);
    server.check(&mut healthy).await;
}

/// Control frames and empty fragments cost as much as messages, and are not shown to handlers.
#[tokio::test]
async fn floods_of_frames_without_content_are_held_back_too() {
    const FRAMES: usize = 2_000;
    let rate = InboundRate::default().with_events_per_second(1_000).with_events_burst(100);
    let (server, seen) = start(rate, WsConfig::default()).await;
    let mut healthy = server.client("healthy").await;
    let envelope = |n: u64| format!(r#"{{"type":"count","payload":{n}}}"#);
    let pings = [frame(0x89, b"").repeat(FRAMES), count(1)].concat();
    let pongs = [frame(0x8a, b"").repeat(FRAMES), count(2)].concat();
    let fragments = frame(0x00, b"").repeat(FRAMES);
    let fragments = [frame(0x01, b""), fragments, frame(0x80, envelope(3).as_bytes())].concat();
    let begun = Instant::now();
    let mut clients = Vec::new();
    for (user, bytes) in [("ann", pings), ("bob", pongs), ("cid", fragments)] {
        let mut raw = server.raw(user).await;
        // A client that reads nothing: what is sent to it fits into the socket.
        raw.stream.write_all(&bytes).await.unwrap();
        clients.push(raw);
    }
    eventually("all are held back", || server.stats().throttled_now == 3).await;
    server.check(&mut healthy).await;
    assert!(seen.lock().unwrap().is_empty());
    eventually("what follows is handled", || seen.lock().unwrap().len() == 3).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1_800), "{FRAMES} frames within {took:?}");
    let kinds = server.stats().throttled_kinds;
    assert!(kinds["control"] > 0 && kinds["fragment"] > 0 && kinds["event"] == 0, "{kinds:?}");
    assert_eq!(server.stats().connections, 4);
}

/// The bytes of an envelope, and those of messages that are rejected, count like a payload's.
#[tokio::test]
async fn all_bytes_that_are_read_count() {
    let rate = InboundRate::unlimited().with_bytes_per_second(1 << 20).with_bytes_burst(1 << 20);
    let padding = "x".repeat(700_000);
    let more = format!(r#"{{"type":"count","payload":1,"more":"{padding}"}}"#);
    let messages =
        [(0x81, more.as_bytes()), (0x81, padding.as_bytes()), (0x82, padding.as_bytes())].map(|(op, of)| frame(op, of));
    for message in messages {
        let (server, _) = start(rate, WsConfig::default()).await;
        let mut client = server.raw("ann").await;
        client.write(&message).await;
        client.write(&message).await;
        eventually("it is held back", || server.stats().throttled > 0).await;
    }
}

#[tokio::test]
async fn answered_pings_do_not_count() {
    let rate = InboundRate::default().with_events_per_second(1).with_events_burst(1);
    let config = WsConfig::default().with_heartbeat(Duration::from_millis(10));
    let (server, _) = start(rate, config).await;
    let mut client = server.client("ann").await;
    let mut pings = 0;
    while pings < 30 {
        // The next read sends the pong.
        let message = in_time("a ping", client.socket.next()).await.unwrap().unwrap();
        pings += usize::from(message.is_ping());
    }
    assert_eq!((server.stats().throttled, server.stats().connections), (0, 1));
}
