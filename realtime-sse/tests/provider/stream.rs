//! The bytes of a stream, and the receivers of an event.

use std::time::{Duration, Instant};

use crate::support::{Reader, Server, Setup};
use realtime_core::{Error, Event, Limits, RealtimeProvider, RoomDelivery, Target};
use realtime_sse::SseConfig;
use realtime_testkit::in_time;
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
async fn each_target_reaches_only_its_connections() {
    let server = Server::start().await;
    let mut ann = server.open("user=ann&tenant=acme").await;
    let mut ann_too = server.open("user=ann&tenant=umbrella").await;
    let mut bob = server.open("user=bob&tenant=acme").await;

    assert_eq!(server.send(Target::user("ann"), "user", 1).await.delivered.unwrap().matched, 2);
    assert_eq!(server.send(Target::tenant("acme"), "tenant", 2).await.delivered.unwrap().matched, 2);
    assert_eq!(server.send(Target::user_in("umbrella", "ann"), "user_in", 3).await.delivered.unwrap().matched, 1);
    assert_eq!(server.send(Target::all().except_user("bob"), "except", 4).await.delivered.unwrap().matched, 2);
    assert_eq!(server.send(Target::user("nobody"), "nobody", 5).await.delivered.unwrap().matched, 0);
    assert_eq!(server.send(Target::all(), "all", 6).await.delivered.unwrap().matched, 3);

    for (name, value) in [("user", 1), ("tenant", 2), ("except", 4), ("all", 6)] {
        ann.expect(name, value).await;
    }
    for (name, value) in [("user", 1), ("user_in", 3), ("except", 4), ("all", 6)] {
        ann_too.expect(name, value).await;
    }
    for (name, value) in [("tenant", 2), ("all", 6)] {
        bob.expect(name, value).await;
    }
}

#[tokio::test]
async fn send_to_one_connection_has_no_position() {
    let server = Server::start().await;
    let mut reader = Reader::of(server.get("/sse?user=ann")).await;
    let id = reader.connected().await["connectionId"].as_str().unwrap().parse().unwrap();
    let mut other = server.open("user=ann").await;

    assert_eq!(server.send(Target::connection(id), "you", "only").await.position, None);
    server.send(Target::all(), "all", ()).await;

    assert_eq!(reader.expect("you", "only").await.id, None);
    assert!(reader.expect("all", ()).await.id.is_some());
    other.expect("all", ()).await;
}

#[tokio::test]
async fn room_reaches_its_members_if_so_configured() {
    let config = SseConfig::default().with_room_delivery(RoomDelivery::Members);
    let server = Setup::from(config).start().await;
    assert!(server.provider.capabilities().rooms);
    let rooms = server.provider.rooms().unwrap();
    let mut ann = server.open("user=ann").await;
    let mut bob = server.open("user=bob").await;

    rooms.join_room("ann", "red").await.unwrap();
    assert_eq!(rooms.user_rooms("ann").await.unwrap(), ["red"]);
    server.send(Target::room("red"), "red", 1).await;
    let mut later = server.open("user=ann").await;
    server.send(Target::room("red"), "red", 2).await;
    rooms.leave_room("ann", "red").await.unwrap();
    server.send(Target::room("red"), "red", 3).await;
    server.send(Target::all(), "end", ()).await;

    ann.expect("red", 1).await;
    ann.expect("red", 2).await;
    ann.expect("end", ()).await;
    later.expect("red", 2).await;
    later.expect("end", ()).await;
    bob.expect("end", ()).await;
}

#[tokio::test]
async fn room_reaches_everyone_by_default() {
    let server = Server::start().await;
    assert!(!server.provider.capabilities().rooms);
    let mut ann = server.open("user=ann&tenant=acme").await;
    let mut bob = server.open("user=bob&tenant=umbrella").await;

    server.provider.rooms().unwrap().join_room("ann", "red").await.unwrap();
    server.send(Target::room("red"), "room", 1).await;
    server.send(Target::room_in("acme", "red"), "room_in", 2).await;
    server.send(Target::all(), "end", ()).await;

    ann.expect("room", 1).await;
    ann.expect("room_in", 2).await;
    ann.expect("end", ()).await;
    bob.expect("room", 1).await;
    bob.expect("end", ()).await;
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
async fn burst_of_five_thousand_events_arrives_in_order() {
    let server = Server::start().await;
    let mut readers = [server.open("user=ann").await, server.open("user=bob").await];
    let sse = std::sync::Arc::clone(&server.provider);

    let sending = tokio::spawn(async move {
        for i in 0..5000 {
            sse.broadcast().to_all(Event::json("n", &i).unwrap()).await.unwrap();
        }
    });
    for reader in &mut readers {
        let mut last = String::new();
        for i in 0..5000 {
            let event = reader.expect("n", i).await;
            assert_ne!(event.id(), last);
            last = event.id().to_owned();
        }
    }
    in_time("the last receipt", sending).await.unwrap();
}

#[tokio::test]
async fn any_text_arrives_unchanged() {
    let server = Server::start().await;
    let mut reader = server.open("user=ann").await;
    let large = "line\r\n\u{2028}\0ä".repeat(90_000);
    let texts =
        ["", " ", "a\nb", "a\rb", "a\r\nb", "\n\n", ": x", "data: x\n\nevent: fake", "\u{2028}\u{feff}\0", &large];

    for text in texts {
        server.send(Target::user("ann"), "text", text).await;
    }
    let raw = Event::raw_json("raw", "{\r\n\"a\":\r[1,\n2]}\n").unwrap();
    server.provider.broadcast().to_user("ann", raw).await.unwrap();

    for text in texts {
        reader.expect("text", text).await;
    }
    reader.expect("raw", json!({"a": [1, 2]})).await;
}

#[tokio::test]
async fn invalid_sends_are_errors_and_reach_no_client() {
    let server = Setup::from(SseConfig::default().with_max_event_bytes(100)).start().await;
    let mut reader = server.open("user=ann").await;
    let broadcast = server.provider.broadcast();

    for name in ["a\nb", "a\rdata: x", "a\0", "", &"x".repeat(257)] {
        assert!(matches!(Event::json(name, &1), Err(Error::InvalidName { .. })), "{name:?}");
    }
    for name in ["connected", "lost", "error", "open", "reconnect"] {
        assert!(matches!(Event::json(name, &1), Err(Error::ReservedName { .. })), "{name:?}");
    }
    let event = || Event::json("a", &1).unwrap();
    for target in [Target::user("a\nb"), Target::room(""), Target::tenant("\0"), Target::all().except_user("\r")] {
        assert!(matches!(broadcast.send(target, event()).await, Err(Error::InvalidName { .. })));
    }
    let binary = Event::binary("b", "bytes").unwrap();
    assert!(matches!(broadcast.to_all(binary).await, Err(Error::Unsupported { what: "binary events", .. })));
    let large = Event::json("l", &"x".repeat(99)).unwrap();
    assert!(matches!(broadcast.to_all(large).await, Err(Error::TooLarge { size: 101, limit: 100 })));
    let most = "x".repeat(98);
    server.send(Target::all(), "most", &most).await;

    let event = reader.expect("most", most).await;
    let cursor: realtime_core::spi::Cursor = event.id().parse().unwrap();
    assert_eq!(cursor.position().get(), 1, "nothing else was logged");
}

#[tokio::test]
async fn volatile_events_have_no_cursor() {
    let server = Server::start().await;
    let mut reader = server.open("user=ann").await;
    // The connection is live only when this has been read.
    server.send(Target::all(), "first", ()).await;
    reader.expect("first", ()).await;

    let typing = Event::json("typing", &true).unwrap().volatile();
    let receipt = server.provider.broadcast().to_user("ann", typing).await.unwrap();

    assert_eq!(receipt.position, None);
    assert_eq!(reader.expect("typing", true).await.id, None);
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
