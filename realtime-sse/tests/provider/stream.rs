//! The bytes of a stream, and the receivers of an event.

use std::time::{Duration, Instant};

use crate::support::{Reader, Server, Setup};
use realtime_core::{Limits, RealtimeProvider, RoomDelivery, Target};
use realtime_sse::{SseConfig, SseProvider};
use serde_json::json;

#[tokio::test]
async fn stream_begins_with_retry_and_connected_in_one_block() {
    const AFTER: Duration = Duration::from_millis(1234);
    let server = Setup::from(SseConfig::default().with_retry(AFTER..=AFTER)).start().await;

    let mut reader = Reader::of(server.get("/sse?user=ann")).await;

    assert_eq!(reader.status, 200);
    assert_eq!(reader.headers["content-type"], "text/event-stream");
    // A proxy that compresses would hold small events back.
    assert_eq!(reader.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(reader.headers["x-accel-buffering"], "no");
    assert!(!reader.headers.contains_key("access-control-allow-origin"));
    // Some clients take every block for an event, so that there is no block without one.
    let connected = reader.block().await;
    assert_eq!(connected.retry.as_deref(), Some("1234"));
    assert_eq!(connected.name(), "connected");
    let value = connected.json();
    assert_eq!((&value["resumed"], &value["reason"]), (&json!(false), &json!("new")));
    assert_eq!(value["cursor"], connected.id());
    assert!(value["message"].is_string() && value["connectionId"].is_string());
}

#[tokio::test]
async fn each_client_gets_another_reconnect_time() {
    let limits = Limits::default().with_connections_per_user(100);
    let server = Setup::from(SseConfig::default().with_limits(limits)).start().await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let first = Reader::of(server.get("/sse?user=ann")).await.block().await;
        times.push(first.retry.unwrap().parse::<u64>().unwrap());
    }
    assert!(times.iter().all(|time| (2_000..=4_000).contains(time)), "{times:?}");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 10, "{times:?}");
}

#[tokio::test]
async fn room_reaches_everyone_by_default() {
    let server = Server::start().await;
    assert!(!server.provider.capabilities().rooms);
    let to_members = SseConfig::default().with_room_delivery(RoomDelivery::Members);
    assert!(SseProvider::new(to_members).capabilities().rooms);
    let mut ann = server.open("user=ann").await;
    server.provider.rooms().unwrap().join_room("bob", "red").await.unwrap();
    assert_eq!(server.send(Target::room("red"), "room", 1).await.delivered.unwrap().matched, 1);
    ann.expect("room", 1).await;
}

#[tokio::test]
async fn quiet_stream_gets_comments() {
    let every = Duration::from_millis(50);
    let server = Setup::from(SseConfig::default().with_heartbeat(every)).start().await;
    let mut reader = server.open("user=ann").await;
    let start = Instant::now();

    for _ in 0..3 {
        assert!(reader.block().await.comment);
    }
    assert!(start.elapsed() >= 2 * every, "{:?}", start.elapsed());
    server.send(Target::all(), "news", 1).await;
    reader.expect("news", 1).await;
    assert!(reader.block().await.comment);
}

#[tokio::test]
async fn many_streams_share_one_http2_connection() {
    let limits = Limits::default().with_connections_per_user(50);
    let server = Setup::from(SseConfig::default().with_limits(limits)).start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = Reader::of(client.get(server.url("/sse?user=ann"))).await;
        assert_eq!((reader.status.as_u16(), reader.version), (200, http::Version::HTTP_2));
        reader.connected().await;
        readers.push(reader);
    }

    for i in 0..100 {
        server.send(Target::user("ann"), "n", i).await;
    }
    for reader in &mut readers {
        for i in 0..100 {
            reader.expect("n", i).await;
        }
    }
    readers.truncate(5);
    server.connections(5).await;
}
