//! Connections that are interrupted within a large event.

use crate::support::{Reader, Server, Setup};
use realtime_core::{CloseReason, RealtimeProvider, Target};
use realtime_http::WireConfig;
use realtime_testkit::{connect_with_small_buffer, in_time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::slow::wire;

/// Starts a server, and returns a cursor of the user `ann` and the events that she has missed
/// since: a first one, a large one, and a small one after it.
async fn missed(wire: WireConfig, first: usize, large: usize) -> (Server, String) {
    let server = Setup { wire, ..Setup::default() }.start().await;
    let mut reader = Reader::of(server.get("/sse?user=ann")).await;
    let cursor = reader.connected().await["cursor"].as_str().unwrap().to_owned();
    drop(reader);
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, "x".repeat(size)).await;
    }
    (server, cursor)
}

/// Returns the first bytes of ann's next connection, and disconnects.
async fn read_some(server: &Server, cursor: &str, version: &str, bytes: usize) -> String {
    begin_to_read(server, cursor, version, bytes).await.0
}

/// Returns the first bytes of ann's next connection, whose host buffers few bytes.
async fn begin_to_read(server: &Server, cursor: &str, version: &str, bytes: usize) -> (String, TcpStream) {
    server.connections(0).await;
    let mut stream = connect_with_small_buffer(server.address()).await;
    let request = format!("GET /sse?user=ann&lastEventId={cursor} HTTP/{version}\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = vec![0; bytes];
    in_time("the first bytes", stream.read_exact(&mut some)).await.unwrap();
    (String::from_utf8(some).unwrap(), stream)
}

/// The kernel continues to send when the server ends the stream.
#[tokio::test]
async fn large_event_before_a_close_by_the_server_is_not_skipped() {
    let (server, cursor) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let (some, mut stream) = begin_to_read(&server, &cursor, "1.1", 32 * 1024).await;
        assert!(some.contains("event: large"));
        server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
        server.connections(0).await;
        let mut rest = Vec::new();
        in_time("EOF", stream.read_to_end(&mut rest)).await.unwrap();
        assert!(String::from_utf8_lossy(&rest).contains("event: behind"));
    }
    assert_eq!(server.stats().lost, 0);
}

/// The network is too slow for the large event: a proxy closes the connection before it arrives.
#[tokio::test]
async fn large_event_interrupted_three_times_is_skipped() {
    let mut cases = vec![(wire(), 1024 * 1024)];
    // The kernel buffers the smaller ones whole.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (case, version) in cases.iter().flat_map(|case| [(case, "1.0"), (case, "1.1")]) {
        let (wire, size) = case.clone();
        let (server, cursor) = missed(wire, 1, size).await;
        for attempt in 0..3 {
            let some = read_some(&server, &cursor, version, 32 * 1024).await;
            assert!(some.contains("event: before") && some.contains("event: large"), "{size} {version} {attempt}");
        }
        server.connections(0).await;
        let mut last = server.open(&format!("user=ann&lastEventId={cursor}")).await;
        assert_eq!(last.event().await.name(), "before");
        let lost = last.event().await;
        assert_eq!((lost.name(), &lost.json()["position"]), ("lost", &serde_json::json!(2)), "{size} {version}");
        assert!(lost.json()["size"].as_u64().unwrap() > size as u64);
        assert_eq!(last.event().await.name(), "behind");
        assert_eq!(server.stats().lost, 1);
    }
}

#[tokio::test]
async fn large_event_that_has_arrived_is_not_skipped() {
    let (server, cursor) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let mut reader = server.open(&format!("user=ann&lastEventId={cursor}")).await;
        // With unread bytes the host would answer with a reset, which acknowledges nothing.
        for name in ["before", "large", "behind"] {
            assert_eq!(reader.event().await.name(), name);
        }
        drop(reader);
        server.connections(0).await;
    }
}

#[tokio::test]
async fn large_event_that_has_not_begun_to_arrive_is_not_skipped() {
    // The event before it fills the buffer of the client's host.
    let (server, cursor) = missed(WireConfig::default(), 60_000, 400_000).await;
    for _ in 0..4 {
        let some = read_some(&server, &cursor, "1.1", 4 * 1024).await;
        assert!(some.contains("event: before") && !some.contains("event: large"));
    }
    server.connections(0).await;
    let mut last = server.open(&format!("user=ann&lastEventId={cursor}")).await;
    for name in ["before", "large", "behind"] {
        assert_eq!(last.event().await.name(), name);
    }
}
