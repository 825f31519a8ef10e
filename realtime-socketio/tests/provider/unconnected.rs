//! Sessions that are connected to no namespace: their bounds, in all and per address, and their
//! time limit.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use realtime_core::Limits;
use realtime_http::TrustedProxies;
use realtime_socketio::{DirectAdapter, SocketIoConfig};
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;

use crate::TRANSPORTS;
use crate::support::{Closed, Server, Setup, Transport, Websocket, in_time};

/// A `connect_timeout` that passes in a test, and leaves a loaded machine time for the steps within
/// it.
const BRIEF: Duration = Duration::from_secs(2);

/// Opens a session on long polling. Returns the HTTP client and the session's URL.
async fn open(server: &Server, forwarded: Option<&str>) -> (reqwest::Client, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = server.url("/socket.io/?EIO=4&transport=polling");
    let mut request = http.get(&url);
    if let Some(address) = forwarded {
        request = request.header("x-forwarded-for", address);
    }
    let response = in_time("a response", request.send()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.text().await.unwrap();
    let open: Value = serde_json::from_str(text.strip_prefix('0').unwrap()).unwrap();
    (http, format!("{url}&sid={}", open["sid"].as_str().unwrap()))
}

/// Returns whether the session still accepts packets.
async fn is_open((http, url): &(reqwest::Client, String)) -> bool {
    in_time("a response", http.post(url).body("3").send()).await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn unconnected_sessions_take_no_slot_of_connections() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(Duration::from_secs(300))).start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", server.address());
    for round in 0..30 {
        let responses = join_all((0..100).map(|_| http.get(&url).send())).await;
        for response in responses {
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
        if round % 10 == 9 {
            for transport in TRANSPORTS {
                server.client(transport, "ann").await;
            }
        }
    }
    assert_eq!(Vec::from_iter(server.stats().refused.keys()), ["session_limit"]);
}

#[tokio::test]
async fn sessions_that_left_their_namespace_count_as_unconnected() {
    let config = SocketIoConfig::default()
        .with_limits(Limits::default().with_connections(5))
        .with_unconnected_sessions(20_usize)
        .with_connect_timeout(Duration::from_secs(300));
    let server = Setup::from(config).start().await;
    let mut left = Vec::new();
    for n in 0..60 {
        let transport = TRANSPORTS[n % 2];
        let (mut client, id) = server.client(transport, "bob").await;
        server.leave(&mut client, id).await;
        left.push(client);
    }
    // The bound holds for these sessions.
    for client in &mut left[..40] {
        client.closed().await;
    }
    for transport in TRANSPORTS {
        server.client(transport, "ann").await;
    }
    // The youngest of them are still open and may connect again.
    let youngest = left.last_mut().unwrap();
    youngest.connect("/", &json!({"user": "bob"})).await.expect("accepted");
    let mut refused = server.stats().refused;
    assert!(refused.remove("session_limit").is_some());
    // A client that polls again after its session was closed asks for a session that has ended.
    refused.remove("unknown_session");
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn session_closes_connect_timeout_after_last_disconnect() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    server.provider.io().ns("/own", async |_: SocketRef<DirectAdapter>| {});
    server.provider.io().ns("/kicks", async |socket: SocketRef<DirectAdapter>| socket.disconnect().unwrap());
    for transport in TRANSPORTS {
        let mut stays = server.open(transport).await;
        stays.connect("/own", &json!({})).await.expect("accepted");
        let mut kicked = server.open(transport).await;
        kicked.connect("/kicks", &json!({})).await.expect("accepted");
        assert_eq!(kicked.message().await.kind, 1);
        let (mut leaves, id) = server.client(transport, "ann").await;
        leaves.connect("/own", &json!({})).await.expect("accepted");
        server.leave(&mut leaves, id).await;
        let mut silent = server.open(transport).await;
        kicked.closed().await;
        silent.closed().await;
        // Both are connected to another namespace, so they are still open.
        for client in [&mut stays, &mut leaves] {
            client.enter(&json!({"user": "ann"})).await;
        }
        for client in [&mut stays, &mut leaves] {
            client.send("41").await;
            client.send("41/own,").await;
            client.closed().await;
        }
    }
}

#[tokio::test]
async fn bound_per_address_closes_sessions_of_that_address_only() {
    let config = SocketIoConfig::default()
        .with_unconnected_sessions_per_address(3_usize)
        .with_connect_timeout(Duration::from_secs(300))
        .with_trusted_proxies(TrustedProxies::new(["127.0.0.0/8"]).unwrap());
    let server = Setup::from(config).start().await;
    let other = open(&server, Some("2.2.2.2")).await;
    let without_address = open(&server, None).await;
    let mut flood = Vec::new();
    for n in 0..20 {
        // The left part is the address that the client claims.
        flood.push(open(&server, Some(&format!("9.9.9.{n}, 1.1.1.1"))).await);
    }
    assert!(is_open(&other).await && is_open(&without_address).await);
    let open = join_all(flood.iter().map(is_open)).await;
    assert_eq!(open.iter().filter(|open| **open).count(), 3);
    assert!(open.ends_with(&[true; 3]), "the youngest");
    assert_eq!(server.stats().refused["session_limit"], 17);
}

#[tokio::test]
async fn what_an_unconnected_session_may_send_is_configurable() {
    for (packets, bytes) in [(3_usize, 1_000_usize), (100, 5)] {
        let config = SocketIoConfig::default().with_unconnected_packets(packets).with_unconnected_bytes(bytes);
        let server = Setup::from(config).start().await;
        let (http, url) = open(&server, None).await;
        let post = |body: &'static str| in_time("a response", http.post(&url).body(body).send());
        // Pongs without a ping.
        assert_eq!(post("3\u{1e}3\u{1e}3").await.unwrap().status(), StatusCode::OK);
        assert_eq!(post("3").await.unwrap().status(), StatusCode::BAD_REQUEST);
        assert_eq!(server.stats().refused["flood"], 1);
    }
}

#[tokio::test]
async fn address_claimed_by_client_is_not_trusted() {
    let config = SocketIoConfig::default().with_unconnected_sessions_per_address(1_usize);
    let server = Setup::from(config).start().await;
    // A client on the same host has no bound of its own, whatever address it claims.
    let all = join_all((0..5).map(|_| open(&server, Some("1.1.1.1")))).await;
    for session in all {
        assert!(is_open(&session).await);
    }
}

/// A websocket is closed in a form upon which the client reconnects.
#[tokio::test]
async fn oldest_unconnected_websocket_is_closed_at_the_bound() {
    let config = SocketIoConfig::default().with_unconnected_sessions(2_usize);
    let server = Setup::from(config).start().await;
    let mut first = server.open(Transport::Websocket).await;
    let _others = [server.open(Transport::Websocket).await, server.open(Transport::Polling).await];
    assert_eq!(first.closed().await, Closed { code: None });
    let url = format!("http://{}/", server.address());
    assert!(Websocket::open(server.address(), "/nowhere", None).await.is_err(), "{url}");
}
