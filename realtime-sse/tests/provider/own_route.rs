//! Streams that the application opens itself, with and without a network.

use std::sync::{Arc, Mutex};

use crate::support::{Reader, Server, Setup};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::sink;
use realtime_core::{CloseReason, Error, Identity, Limits, RealtimeProvider, RoomDelivery, Target};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::{eventually, in_time};

async fn events(State(sse): State<Arc<SseProvider>>, Path(user): Path<String>, request: Request) -> Response {
    sse.open(request, Identity::user(user).with_tenant("acme"), ["dashboard"]).await
}

async fn server(config: SseConfig) -> Server {
    Setup::from(config).start_with(|sse| axum::Router::new().route("/of/{user}", get(events)).with_state(sse)).await
}

#[tokio::test]
async fn own_route_sets_identity_and_rooms() {
    let server = server(SseConfig::default().with_room_delivery(RoomDelivery::Members)).await;
    let mut reader = Reader::of(server.get("/of/ann?channel=other&user=bob")).await;
    assert_eq!(reader.headers["content-type"], "text/event-stream");
    reader.connected().await;

    server.send(Target::room("other"), "other", ()).await;
    server.send(Target::user("bob"), "bob", ()).await;
    server.send(Target::room("dashboard"), "room", 1).await;
    server.send(Target::tenant("acme"), "tenant", 2).await;

    let room = reader.expect("room", 1).await;
    reader.expect("tenant", 2).await;
    let mut back = Reader::of(server.get("/of/ann").header("last-event-id", room.id())).await;
    assert_eq!(back.connected().await["resumed"], true);
    back.expect("tenant", 2).await;
    let mut back = Reader::of(server.get(&format!("/of/ann?lastEventId={}", room.id()))).await;
    assert_eq!(back.connected().await["resumed"], true);
}

#[tokio::test]
async fn own_route_keeps_limits_and_origins() {
    let server = server(SseConfig::default().with_limits(Limits::default().with_connections_per_user(1))).await;
    let mut first = Reader::of(server.get("/of/ann")).await;
    first.connected().await;

    let second = Reader::of(server.get("/of/ann")).await;
    assert_eq!(second.status, 429);
    assert_eq!(second.error().await["code"], "user_limit");
    let foreign = Reader::of(server.get("/of/bob").header("origin", "https://evil.example")).await;
    assert_eq!(foreign.status, 403);
    let bad = Reader::of(server.get("/of/a%0Ab")).await;
    assert_eq!(bad.status, 400);
    let stats = server.stats();
    assert_eq!((stats.connections, stats.refused["origin"], stats.refused["user_limit"]), (1, 1, 1));
}

#[tokio::test]
async fn sink_gets_the_same_blocks_as_a_client() {
    let server =
        Setup::from(SseConfig::default().with_limits(Limits::default().with_connections_per_user(1))).start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let sink = Box::pin(sink::unfold((), move |(), block: Bytes| {
        into.lock().unwrap().push(String::from_utf8(block.to_vec()).unwrap());
        async { Ok::<_, std::convert::Infallible>(()) }
    }));

    let link = server.provider.connect(Identity::user("ann"), sink).unwrap();
    let second = server.provider.connect(Identity::user("ann"), sink::drain());
    assert!(matches!(second, Err(Error::Refused(_))));
    server.send(Target::user("ann"), "test", serde_json::json!({"message": "Hello"})).await;

    eventually("two blocks", || seen.lock().unwrap().len() == 2).await;
    let blocks = seen.lock().unwrap().clone();
    assert!(blocks[0].starts_with("event: connected\nid: "), "{blocks:?}");
    assert!(blocks[1].starts_with("event: test\nid: ") && blocks[1].ends_with("\ndata: {\"message\":\"Hello\"}\n\n"));
    server.provider.close(Target::connection(link.id()), CloseReason::KICKED).await.unwrap();
    in_time("a close", link.closed()).await;
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::KICKED);
}
