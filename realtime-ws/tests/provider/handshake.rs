//! The opening handshake: accepted and refused requests.

use std::sync::Arc;

use crate::support::{Raw, Server, handshake_of};
use realtime_core::spi::Runtime;
use realtime_core::{Handlers, Identity, Limits, RealtimeProvider};
use realtime_http::{Origins, WireConfig};
use realtime_testkit::{PendingAuthenticator, Served, eventually, in_time};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn provider(config: WsConfig) -> WsProvider {
    WsProvider::new(config).on("echo", async |_, value: Value| realtime_core::Reply(value))
}

/// Returns the status, the head, and the error code in the JSON body of a refusal.
async fn refused(server: &Server, request: &str) -> (u16, String, String) {
    let (mut raw, head) = server.request(request).await;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    in_time("a body", raw.stream.read_exact(&mut body)).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    (status, head, body["error"]["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn request_without_a_valid_handshake_is_refused() {
    let server = Server::start(provider(WsConfig::default())).await;
    let mut healthy = server.client("healthy").await;
    let good = handshake_of("/ws?user=a");

    let (status, head, code) = refused(&server, "GET /ws?user=a HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((status, &*code), (426, "bad_request"));
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");

    // RFC 6455 §4.2.2: the response names the supported versions.
    for version in ["8", "14", "13, 14"] {
        let request = good.replace("Version: 13", &format!("Version: {version}"));
        let (status, head, code) = refused(&server, &request).await;
        assert_eq!((status, &*code), (426, "bad_request"));
        assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
    }
    for key in ["", "c2hvcnQ=", "not base64 at all!!!!!!!"] {
        let request = good.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
        assert_eq!(refused(&server, &request).await.0, 400, "{key}");
    }
    let (status, head, _) = refused(&server, &good.replace("GET", "PUT")).await;
    assert_eq!(status, 405);
    assert!(head.contains("\r\nallow: get\r\n"), "{head}");
    assert_eq!(refused(&server, &good.replace("HTTP/1.1", "HTTP/1.0")).await.0, 400);

    assert_eq!(server.stats().refused["bad_request"], 9);
    assert_eq!(server.stats().connections, 1);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn handshake_rewritten_by_a_proxy_is_accepted() {
    let server = Server::start(provider(WsConfig::default())).await;
    let rewritten = |connection: &str, upgrade: &str| {
        format!(
            "GET /ws?user=a HTTP/1.1\r\nHost: x\r\n{connection}\r\n{upgrade}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    for (connection, upgrade) in [
        ("Connection: keep-alive\r\nConnection: Upgrade", "Upgrade: websocket"),
        ("Connection: keep-alive,\tUpgrade", "Upgrade: websocket"),
        ("Connection: Upgrade\t", "Upgrade: h2c, websocket"),
        ("Connection: upgrade,keep-alive", "Upgrade: h2c\r\nUpgrade:\tWebSocket"),
    ] {
        let (_, head) = server.request(&rewritten(connection, upgrade)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{connection} {upgrade}: {head}");
    }
    for (connection, upgrade) in
        [("Connection: upgrades", "Upgrade: websocket"), ("Connection: upgrade", "Upgrade: h2c")]
    {
        assert_eq!(refused(&server, &rewritten(connection, upgrade)).await.0, 426);
    }
}

#[tokio::test]
async fn invalid_identity_is_refused_before_the_upgrade() {
    let server = Server::start(provider(WsConfig::default())).await;
    let mut healthy = server.client("healthy").await;

    let (status, head, code) = refused(&server, &handshake_of("/ws")).await;
    assert_eq!((status, &*code), (401, "unauthorized"));
    assert!(head.contains("\r\nwww-authenticate: bearer\r\n"), "{head}");
    let (status, _, code) = refused(&server, &handshake_of("/ws?user=a&token=bad")).await;
    assert_eq!((status, &*code), (401, "unauthorized"));
    let (status, _, code) = refused(&server, &handshake_of("/ws?user=a&channel=secret")).await;
    assert_eq!((status, &*code), (403, "room"));
    for channel in ["", "a%0Ab", "%00", &"x".repeat(257)] {
        let (status, _, code) = refused(&server, &handshake_of(&format!("/ws?user=a&channel={channel}"))).await;
        assert_eq!((status, &*code), (400, "bad_request"), "{channel:?}");
    }
    for user in ["", "a%0D", &"x".repeat(257)] {
        assert_eq!(refused(&server, &handshake_of(&format!("/ws?user={user}"))).await.0, 400, "{user:?}");
    }

    let refused = server.stats().refused;
    assert_eq!((refused["unauthorized"], refused["room"], refused["bad_request"]), (2, 1, 7));
    assert_eq!(server.stats().connected, 1);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn foreign_origins_are_refused_unless_listed() {
    let origins = Origins::same_host().and("https://app.example");
    let server = Server::start(provider(WsConfig::default().with_origins(origins))).await;
    let mut healthy = server.client("healthy").await;
    let from = |origin: &str| handshake_of("/ws?user=a").replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));

    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        let (status, _, code) = refused(&server, &from(origin)).await;
        assert_eq!((status, &*code), (403, "origin"), "{origin}");
    }
    for origin in ["https://app.example", "http://localhost"] {
        let (_, head) = server.request(&from(origin)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    assert_eq!(server.stats().refused["origin"], 3);
    // A proxy can add the default port of the scheme.
    let proxied = from("https://page.example").replace("Host: localhost", "Host: page.example:443");
    assert!(server.request(&proxied).await.1.starts_with("HTTP/1.1 101 "));
    assert_eq!(refused(&server, &proxied.replace(":443", ":444")).await.0, 403);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn full_node_sends_retry_after() {
    let limits = Limits::default().with_connections(1);
    let server = Server::start(provider(WsConfig::default().with_limits(limits))).await;
    let mut healthy = server.client("healthy").await;
    let (status, head, code) = refused(&server, &handshake_of("/ws?user=a")).await;
    assert_eq!((status, &*code), (503, "node_limit"));
    let after = head.split_once("\r\nretry-after: ").and_then(|(_, rest)| rest.split_once("\r\n")).unwrap().0;
    assert!((5..=10).contains(&after.parse::<u64>().unwrap()), "{head}");
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn abandoned_handshake_frees_its_slot() {
    let limits = Limits::default().with_connections(1);
    let server = Server::start(provider(WsConfig::default().with_limits(limits))).await;
    for _ in 0..20 {
        let mut raw = Raw { stream: TcpStream::connect(server.address()).await.unwrap() };
        raw.write(handshake_of("/ws?user=a").as_bytes()).await;
        drop(raw);
    }
    // Some of them were refused, some were connections for a moment; none stays.
    eventually("no connection of many", || {
        let stats = server.stats();
        let done = stats.connected + stats.refused.get("node_limit").copied().unwrap_or_default();
        stats.connections == 0 && done > 0
    })
    .await;
    in_time("an accepted connection", async {
        while server.request(&handshake_of("/ws?user=a")).await.1.starts_with("HTTP/1.1 503") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn half_sent_headers_time_out() {
    let wire = WireConfig::default().with_header_read_timeout(std::time::Duration::from_millis(100));
    let server = Server::start_with(provider(WsConfig::default()), wire, |router| router).await;
    let mut healthy = server.client("healthy").await;
    let mut raw = Raw { stream: TcpStream::connect(server.address()).await.unwrap() };
    raw.write(b"GET /ws?user=a HTTP/1.1\r\nHost: x\r\nUpgr").await;
    let mut rest = Vec::new();
    let _ = in_time("EOF", raw.stream.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/1.1 101"));
    assert_eq!(server.stats().connected, 1);
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn own_route_sets_identity_and_rooms() {
    use axum::extract::{Path, Request, State};

    let open = async |State(provider): State<Arc<WsProvider>>, Path(user): Path<String>, request: Request| {
        provider.open(request, Identity::user(user).with_tenant("acme"), ["dashboard"]).await
    };
    let server = Server::start_with(provider(WsConfig::default()), WireConfig::default(), |router| {
        router.route("/mine/{user}", axum::routing::get(open))
    })
    .await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client_at("/mine/bob?channel=other").await;
    server.send(realtime_core::Target::room("other"), "x", &0).await;
    server.send(realtime_core::Target::room_in("acme", "dashboard"), "x", &1).await;
    assert_eq!(client.json().await["payload"], 1);
    server.send(realtime_core::Target::user("bob"), "x", &2).await;
    assert_eq!(client.json().await["payload"], 2);

    let (status, _, code) = refused(&server, "GET /mine/bob HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!((status, &*code), (426, "bad_request"));
    let foreign = handshake_of("/mine/bob").replace("\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n");
    assert_eq!(refused(&server, &foreign).await.0, 403);
    for _ in 1..10 {
        std::mem::forget(server.client_at("/mine/bob").await);
    }
    let (status, _, code) = refused(&server, &handshake_of("/mine/bob")).await;
    assert_eq!((status, &*code), (429, "user_limit"));
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn unattached_and_shut_down_providers_accept_no_connection() {
    let server = Server::start(provider(WsConfig::default())).await;
    server.provider.shutdown(realtime_core::Drain::now()).await;
    let (status, head, code) = refused(&server, &handshake_of("/ws?user=a")).await;
    assert_eq!((status, &*code), (503, "draining"));
    assert!(head.contains("retry-after") && head.contains("connection: close"), "{head}");

    let early = WsProvider::new(WsConfig::default());
    let error = early.connect(Identity::user("a"), futures_util::sink::drain()).unwrap_err();
    assert_eq!(error.code(), "draining");
}

#[tokio::test]
async fn authenticator_is_cancelled_when_its_client_disconnects() {
    let authenticator = PendingAuthenticator::default();
    let runtime = Runtime::in_memory().with_authenticator(authenticator.clone());
    let server = Served::start(provider(WsConfig::default()), runtime).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(server.address()).await.unwrap();
        client.write_all(handshake_of("/ws?user=a").as_bytes()).await.unwrap();
        clients.push(client);
    }
    eventually("20 calls in progress", || authenticator.in_progress() == 20).await;
    drop(clients);
    eventually("no call in progress", || authenticator.in_progress() == 0).await;
}
