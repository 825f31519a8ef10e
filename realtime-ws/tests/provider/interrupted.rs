//! Connections that are interrupted within a large event.

use crate::support::{Raw, Server, handshake_of};
use realtime_core::Target;
use realtime_http::WireConfig;
use realtime_testkit::{connect_with_small_buffer, in_time};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Starts a server, and returns a cursor of the user `ann` and the events that she has missed
/// since: a first one, a large one, and a small one after it.
async fn missed(wire: WireConfig, first: usize, large: usize) -> (Server, String) {
    let server = Server::start_with(WsProvider::new(WsConfig::default()), wire, |router| router).await;
    let mut client = server.client("ann").await;
    let cursor = client.welcome["id"].as_str().unwrap().to_owned();
    client.socket.close(None).await.unwrap();
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, &"x".repeat(size)).await;
    }
    (server, cursor)
}

/// Opens ann's next connection, whose host buffers few bytes.
async fn resume(server: &Server, cursor: &str) -> TcpStream {
    server.connections(0).await;
    let mut stream = connect_with_small_buffer(server.address()).await;
    stream.write_all(handshake_of(&path(cursor)).as_bytes()).await.unwrap();
    stream
}

fn path(cursor: &str) -> String {
    format!("/ws?user=ann&lastEventId={cursor}")
}

/// Returns the next bytes as text.
async fn read(stream: &mut TcpStream, bytes: usize) -> String {
    let mut some = vec![0; bytes];
    in_time("the next bytes", stream.read_exact(&mut some)).await.unwrap();
    String::from_utf8_lossy(&some).into_owned()
}

/// The network is too slow for the large event: the client disconnects before it arrives.
#[tokio::test]
async fn large_event_interrupted_three_times_is_skipped() {
    let tight = WireConfig::default().with_unsent_low_water(16 * 1024);
    let mut cases = vec![(tight, 1024 * 1024)];
    // The kernel buffers the smaller ones whole.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (wire, size) in cases {
        let (server, cursor) = missed(wire, 1, size).await;
        for attempt in 0..3 {
            let mut stream = resume(&server, &cursor).await;
            let some = read(&mut stream, 32 * 1024).await;
            assert!(some.contains(r#""type":"before""#) && some.contains(r#""type":"large""#), "{size} {attempt}");
        }
        server.connections(0).await;
        let mut last = server.client_at(&path(&cursor)).await;
        assert_eq!(last.json().await["type"], "before");
        let lost = last.json().await;
        assert_eq!((&lost["type"], &lost["payload"]["position"]), (&json!("lost"), &json!(2)), "{size}");
        assert!(lost["payload"]["size"].as_u64().unwrap() > size as u64);
        assert_eq!(last.json().await["type"], "behind");
    }
}

#[tokio::test]
async fn large_event_that_has_arrived_is_not_skipped() {
    let (server, cursor) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let (mut raw, _) = server.request(&handshake_of(&path(&cursor))).await;
        read_large(&mut raw).await;
        // With unread bytes the host would answer with a reset, which acknowledges nothing.
        assert!(raw.frame().await.1.len() < 1000);
        drop(raw);
        server.connections(0).await;
    }
    assert_eq!(server.stats().lost, 0);
}

/// Reads to the end of the large event.
async fn read_large(raw: &mut Raw) {
    while raw.frame().await.1.len() < 70_000 {}
}

#[tokio::test]
async fn large_event_that_has_not_begun_to_arrive_is_not_skipped() {
    // The event before it fills the buffer of the client's host.
    let (server, cursor) = missed(WireConfig::default(), 60_000, 400_000).await;
    for _ in 0..4 {
        let mut stream = resume(&server, &cursor).await;
        let some = read(&mut stream, 4 * 1024).await;
        assert!(some.contains(r#""type":"before""#));
    }
    server.connections(0).await;
    let (mut raw, _) = server.request(&handshake_of(&path(&cursor))).await;
    read_large(&mut raw).await;
    assert_eq!(server.stats().lost, 0);
}
