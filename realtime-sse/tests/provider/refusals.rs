//! Refusals of connections.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Reader, Server, Setup, runtime};
use async_trait::async_trait;
use http::Method;
use realtime_core::spi::Runtime;
use realtime_core::{Context, Limits, RealtimeProvider, RoomAccess, RoomDelivery, RoomPolicy, Target};
use realtime_http::{HttpProvider, Origins};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::{PendingAuthenticator, Served, eventually};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Allows rooms whose names begin with the user's name.
struct OwnRooms;

#[async_trait]
impl RoomPolicy for OwnRooms {
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess {
        let own = cx.identity().user_name().is_some_and(|user| room.starts_with(user));
        if own { RoomAccess::Allow } else { RoomAccess::Deny }
    }
}

#[tokio::test]
async fn full_node_sends_retry_after() {
    let limits = Limits::default().with_connections(1);
    let server = Setup::from(SseConfig::default().with_limits(limits)).start().await;
    let _first = server.open("user=ann").await;

    let second = Reader::of(server.get("/sse?user=bob")).await;

    assert_eq!(second.status, 503);
    let after: u64 = second.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((5..=10).contains(&after), "{after}");
    assert_eq!(second.error().await["code"], "node_limit");
}

#[tokio::test]
async fn invalid_identity_is_refused() {
    let server = Server::start().await;
    for (query, status, code) in [
        ("", 401, "unauthorized"),
        ("?user=banned", 403, "forbidden"),
        ("?user=", 400, "bad_request"),
        ("?user=a%0Ab", 400, "bad_request"),
        ("?user=ok&tenant=a%00", 400, "bad_request"),
    ] {
        let reader = Reader::of(server.get(&format!("/sse{query}"))).await;
        assert_eq!(reader.status, status, "{query}");
        let challenge = reader.headers.get("www-authenticate").is_some();
        assert_eq!(challenge, status == 401, "{query}");
        assert_eq!(reader.error().await["code"], code, "{query}");
    }
    assert_eq!(server.stats().connected, 0);
}

#[tokio::test]
async fn policy_decides_about_named_rooms() {
    let runtime = runtime().with_policy(OwnRooms);
    let sse = SseConfig::default().with_room_delivery(RoomDelivery::Members);
    let server = Setup { runtime, sse, ..Setup::default() }.start().await;
    let mut reader = server.open("user=ann&channel=ann-1&channel=ann-2&channel=ann-1").await;

    for (channels, status, code) in [
        ("&channel=bob-1", 403, "room"),
        ("&channel=ann-1&channel=bob-1", 403, "room"),
        ("&channel=", 400, "bad_request"),
        ("&channel=ann%0D%0Aevent:%20fake", 400, "bad_request"),
        (&(0..101).map(|i| format!("&channel=ann-{i}")).collect::<String>(), 400, "bad_request"),
    ] {
        let refused = Reader::of(server.get(&format!("/sse?user=ann{channels}"))).await;
        assert_eq!(refused.status, status, "{channels}");
        assert_eq!(refused.error().await["code"], code, "{channels}");
    }
    server.send(Target::room("bob-1"), "hidden", ()).await;
    assert_eq!(server.send(Target::room("ann-2"), "seen", 2).await.delivered.unwrap().matched, 1);

    reader.expect("seen", 2).await;
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn rooms_are_refused_by_default() {
    let server = Server::start().await;
    assert_eq!(Reader::of(server.get("/sse?user=ann&channel=red")).await.status, 403);
}

#[tokio::test]
async fn foreign_origins_are_refused_unless_listed() {
    let origins = Origins::same_host().and("https://app.example");
    let server = Setup::from(SseConfig::default().with_origins(origins)).start().await;
    let own = server.url("");

    let foreign = Reader::of(server.get("/sse?user=ann").header("origin", "https://evil.example")).await;
    assert_eq!(foreign.status, 403);
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    assert_eq!(foreign.error().await["code"], "origin");
    assert_eq!(server.stats().refused["origin"], 1);
    // The request of an image has no origin.
    let image = Reader::of(server.get("/sse?user=ann").header("sec-fetch-site", "cross-site")).await;
    assert_eq!((image.status.as_u16(), server.stats().refused["origin"]), (403, 2));
    let same = Reader::of(server.get("/sse?user=ann").header("sec-fetch-site", "same-origin")).await;
    assert_eq!(same.status, 200);
    for origin in [&own, "https://app.example"] {
        let reader = Reader::of(server.get("/sse?user=ann").header("origin", origin)).await;
        assert_eq!(reader.status, 200);
        assert_eq!(reader.headers["access-control-allow-origin"], origin);
        assert_eq!(reader.headers["vary"], "origin");
    }
    // A listed page can also read the reason of a refusal.
    let refused = Reader::of(server.get("/sse").header("origin", "https://app.example")).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["access-control-allow-origin"]),
        (401, &"https://app.example".parse().unwrap())
    );
}

#[tokio::test]
async fn other_methods_open_no_stream() {
    const METHODS: &str = "GET, HEAD, OPTIONS";
    let server = Setup::from(SseConfig::default().with_origins(Origins::only(["https://app.example"]))).start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = |method| client.request(method, server.url("/sse?user=ann"));

    let methods = [Method::POST, Method::PUT, Method::DELETE, Method::PATCH];
    for method in &methods {
        let refused = Reader::of(request(method.clone()).header("origin", "https://app.example")).await;
        assert_eq!((refused.status.as_u16(), &refused.headers["allow"]), (405, &METHODS.parse().unwrap()), "{method}");
        assert_eq!(refused.headers["access-control-allow-origin"], "https://app.example");
        let error = refused.error().await;
        assert_eq!(error["code"], "bad_request", "{method}");
        assert!(error["message"].is_string(), "{method}");
    }
    assert_eq!(server.stats().refused["bad_request"], methods.len() as u64);
    let head = Reader::of(request(Method::HEAD)).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "text/event-stream");
    assert!(!head.headers.contains_key("content-length"));
    assert_eq!(Reader::of(client.head(server.url("/sse"))).await.status, 401);
    let preflight = request(Method::OPTIONS).header("origin", "https://app.example");
    let preflight = Reader::of(preflight.header("access-control-request-method", "GET")).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.headers["access-control-allow-origin"], "https://app.example");
    assert_eq!(preflight.headers["access-control-allow-methods"], "GET");
    // Headers that tracing and an application add to each request.
    let names = "authorization, sentry-trace, traceparent, x-csrf-token";
    let asking = |origin| {
        let preflight = request(Method::OPTIONS).header("origin", origin);
        preflight.header("access-control-request-method", "GET").header("access-control-request-headers", names)
    };
    let preflight = Reader::of(asking("https://app.example")).await;
    assert_eq!(preflight.headers["access-control-allow-headers"], names);
    assert_eq!(preflight.headers["access-control-max-age"], "600");
    assert_eq!(preflight.headers["vary"], "origin, access-control-request-headers");
    let foreign = Reader::of(asking("https://evil.example")).await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    assert!(!foreign.headers.contains_key("access-control-allow-headers"));
    assert_eq!(server.stats().connected, 0);
}

#[tokio::test]
async fn unattached_provider_accepts_no_stream() {
    let server = Served::unattached(SseProvider::new(SseConfig::default())).await;
    let (sse, url) = (Arc::clone(&server.provider), server.url("/sse"));
    assert!(!sse.is_ready());
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();

    let early = client.get(&url).send().await.unwrap();
    assert_eq!(early.status(), 200, "a browser that connects too early reconnects");
    assert!(early.text().await.unwrap().starts_with("retry: "));
    sse.attach(Runtime::in_memory()).await.unwrap();

    assert!(sse.is_ready());
    let mut reader = Reader::of(client.get(&url)).await;
    reader.connected().await;
}

#[tokio::test]
async fn path_is_as_configured() {
    let server = Setup::from(SseConfig::default().with_path("/push/stream")).start().await;
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 404);
    Reader::of(server.get("/push/stream?user=ann")).await.connected().await;
}

#[tokio::test]
async fn authenticator_is_cancelled_when_its_client_disconnects() {
    let authenticator = PendingAuthenticator::default();
    let runtime = Runtime::in_memory().with_authenticator(authenticator.clone());
    let server = Served::start(SseProvider::new(SseConfig::default()), runtime).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client.write_all(b"GET /sse?user=a HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    eventually("20 calls in progress", || authenticator.in_progress() == 20).await;
    drop(clients);
    eventually("no call in progress", || authenticator.in_progress() == 0).await;
}
