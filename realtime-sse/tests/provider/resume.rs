//! Clients that reconnect.

use std::time::Duration;

use crate::support::{Reader, Server, Setup, runtime};
use realtime_core::{AllowRooms, RoomDelivery, Target, WindowConfig};
use realtime_sse::SseConfig;
use serde_json::json;

async fn resume(server: &Server, query: &str, id: &str) -> Reader {
    Reader::of(server.get(&format!("/sse?{query}")).header("last-event-id", id)).await
}

#[tokio::test]
async fn client_resumes_without_gap_or_duplicate() {
    let server = Server::start().await;
    let mut ann = server.open("user=ann").await;
    for i in 1..=3 {
        server.send(Target::user("ann"), "n", i).await;
        server.send(Target::user("bob"), "secret", i).await;
    }
    ann.expect("n", 1).await;
    let second = ann.expect("n", 2).await;
    drop(ann);
    server.connections(0).await;
    for i in 4..=300 {
        server.send(Target::user("ann"), "n", i).await;
        server.send(Target::user("bob"), "secret", i).await;
    }

    let mut ann = resume(&server, "user=ann", second.id()).await;

    let connected = ann.connected().await;
    assert_eq!((&connected["resumed"], &connected["cursor"]), (&json!(true), &json!(second.id())));
    server.send(Target::user("ann"), "n", 301).await;
    for i in 3..=301 {
        ann.expect("n", i).await;
    }
    server.send(Target::all(), "end", ()).await;
    ann.expect("end", ()).await;
}

#[tokio::test]
async fn cursor_in_the_header_wins_over_the_query() {
    let server = Server::start().await;
    let mut ann = server.open("user=ann").await;
    let mut ids = Vec::new();
    for i in 0..4 {
        server.send(Target::all(), "n", i).await;
        ids.push(ann.expect("n", i).await.id().to_owned());
    }

    let mut by_query = Reader::of(server.get(&format!("/sse?user=ann&lastEventId={}", ids[0]))).await;
    assert_eq!(by_query.connected().await["resumed"], true);
    by_query.expect("n", 1).await;
    let mut by_header = resume(&server, &format!("user=ann&lastEventId={}", ids[0]), &ids[2]).await;
    assert_eq!(by_header.connected().await["cursor"], ids[2]);
    by_header.expect("n", 3).await;
    let mut empty_header = resume(&server, &format!("user=ann&lastEventId={}", ids[1]), "").await;
    assert_eq!(empty_header.connected().await["cursor"], ids[1]);
    empty_header.expect("n", 2).await;
}

#[tokio::test]
async fn invalid_cursor_starts_fresh_with_a_reason() {
    let server = Server::start().await;
    let mut ann = server.open("user=ann").await;
    server.send(Target::all(), "n", 0).await;
    let id = ann.expect("n", 0).await.id().to_owned();
    let elsewhere = Server::start().await;
    let mut other = Reader::of(elsewhere.get("/sse?user=ann")).await;
    let epoch = other.connected().await["cursor"].as_str().unwrap().to_owned();

    for (garbage, reason) in [
        ("0", "invalid"),
        ("x", "invalid"),
        ("-1", "invalid"),
        ("' OR 1=1 --", "invalid"),
        (&id[..id.len() - 1], "invalid"),
        (&format!("{id}A"), "invalid"),
        (&id.to_lowercase(), "invalid"),
        (&"A".repeat(5000), "invalid"),
        (&epoch, "epoch"),
    ] {
        let mut reader = resume(&server, "user=ann", garbage).await;
        assert_eq!(reader.status, 200, "{garbage:?}");
        let connected = reader.connected().await;
        assert_eq!((&connected["resumed"], &connected["reason"]), (&json!(false), &json!(reason)), "{garbage:?}");
        server.send(Target::user("ann"), "now", garbage).await;
        reader.expect("now", garbage).await;
    }
    // Bytes that are no text.
    let bytes = http::HeaderValue::from_bytes(b"\xff\xfe\x80").unwrap();
    let mut reader = Reader::of(server.get("/sse?user=ann").header("last-event-id", bytes)).await;
    assert_eq!(reader.connected().await["reason"], "invalid");
}

#[tokio::test]
async fn expired_cursor_starts_fresh_with_a_reason() {
    let window = WindowConfig::default().with_records(10);
    let server = Setup::from(SseConfig::default().with_window(window)).start().await;
    let mut ann = server.open("user=ann").await;
    server.send(Target::all(), "n", 0).await;
    let old = ann.expect("n", 0).await;
    for i in 1..=30 {
        server.send(Target::all(), "n", i).await;
    }

    let mut back = resume(&server, "user=ann", old.id()).await;

    let connected = back.connected().await;
    assert_eq!((&connected["resumed"], &connected["reason"]), (&json!(false), &json!("expired")));
    server.send(Target::all(), "n", 31).await;
    back.expect("n", 31).await;
}

#[tokio::test]
async fn rooms_named_again_are_replayed() {
    let runtime = runtime().with_policy(AllowRooms);
    let sse = SseConfig::default().with_room_delivery(RoomDelivery::Members);
    let server = Setup { runtime, sse, ..Setup::default() }.start().await;
    let mut ann = server.open("user=ann&channel=red").await;
    server.send(Target::room("red"), "red", 1).await;
    let first = ann.expect("red", 1).await;
    drop(ann);
    server.connections(0).await;
    server.send(Target::room("red"), "red", 2).await;
    server.send(Target::room("blue"), "blue", 2).await;

    let mut back = resume(&server, "user=ann&channel=red", first.id()).await;

    assert_eq!(back.connected().await["resumed"], true);
    back.expect("red", 2).await;
    server.send(Target::all(), "end", ()).await;
    back.expect("end", ()).await;
}

#[tokio::test]
async fn quiet_client_gets_a_cursor_to_resume_from() {
    let window = WindowConfig::default().with_records(40);
    // The dispatcher checks its connections four times in this time.
    let config = SseConfig::default().with_window(window).with_write_stall(Duration::from_secs(4));
    let server = Setup::from(config).start().await;
    let mut quiet = server.open("user=quiet").await;
    for i in 0..20 {
        server.send(Target::user("busy"), "n", i).await;
    }

    let bare_id = loop {
        let block = quiet.block().await;
        if block.id.is_some() {
            break block;
        }
    };

    assert_eq!((bare_id.event, bare_id.data), (None, None));
    drop(quiet);
    for i in 20..40 {
        server.send(Target::user("busy"), "n", i).await;
    }
    server.send(Target::user("quiet"), "hello", ()).await;
    let mut back = resume(&server, "user=quiet", bare_id.id.as_deref().unwrap()).await;
    assert_eq!(back.connected().await["resumed"], true);
    back.expect("hello", ()).await;
    assert_eq!(server.stats().lost, 0);
}
