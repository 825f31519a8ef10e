//! Connections that end within a large event, again and again.

use crate::support::{Raw, Server, eventually, handshake_of, within};
use realtime_core::Target;
use realtime_http::WireConfig;
use realtime_ws::{WsConfig, WsProvider};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A place of ann's, and what she has missed since: a first event, a large one and a small one behind it.
async fn missed(wire: WireConfig, first: usize, large: usize) -> (Server, String) {
    let server = Server::start_with(WsProvider::new(WsConfig::default()), wire, |router| router).await;
    let mut client = server.client("ann").await;
    let place = client.welcome["id"].as_str().unwrap().to_owned();
    client.socket.close(None).await.unwrap();
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, &"x".repeat(size)).await;
    }
    (server, place)
}

/// Ann's next connection, whose host keeps little of what she does not read.
async fn back(server: &Server, place: &str) -> TcpStream {
    eventually(|| server.stats().connections == 0).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stream = socket.connect(server.addr).await.unwrap();
    stream.write_all(handshake_of(&path(place)).as_bytes()).await.unwrap();
    stream
}

fn path(place: &str) -> String {
    format!("/ws?user=ann&lastEventId={place}")
}

/// The next bytes, as text.
async fn read(stream: &mut TcpStream, bytes: usize) -> String {
    let mut some = vec![0; bytes];
    within(stream.read_exact(&mut some)).await.unwrap();
    String::from_utf8_lossy(&some).into_owned()
}

/// A line that is too slow for a large event: the client's own time is over before it is there.
#[tokio::test]
async fn a_large_event_that_is_cut_three_times_is_passed_over() {
    let tight = WireConfig::default().with_unsent_low_water(16 * 1024);
    let mut cases = vec![(tight, 1024 * 1024)];
    // The kernel takes the smaller ones whole.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (wire, size) in cases {
        let (server, place) = missed(wire, 1, size).await;
        for cut in 0..3 {
            let mut stream = back(&server, &place).await;
            let some = read(&mut stream, 32 * 1024).await;
            assert!(some.contains(r#""type":"before""#) && some.contains(r#""type":"large""#), "{size} {cut}");
        }
        eventually(|| server.stats().connections == 0).await;
        let mut last = server.client_at(&path(&place)).await;
        assert_eq!(last.json().await["type"], "before");
        let lost = last.json().await;
        assert_eq!((&lost["type"], &lost["payload"]["position"]), (&json!("lost"), &json!(2)), "{size}");
        assert!(lost["payload"]["size"].as_u64().unwrap() > size as u64);
        assert_eq!(last.json().await["type"], "behind");
    }
}

#[tokio::test]
async fn a_large_event_that_has_arrived_is_not_passed_over() {
    let (server, place) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let (mut raw, _) = server.request(&handshake_of(&path(&place))).await;
        large(&mut raw).await;
        // With something unread its host would answer with a reset, which acknowledges nothing.
        assert!(raw.frame().await.1.len() < 1000);
        drop(raw);
        eventually(|| server.stats().connections == 0).await;
    }
    assert_eq!(server.stats().lost, 0);
}

/// Reads on to the large event and to its end.
async fn large(raw: &mut Raw) {
    while raw.frame().await.1.len() < 70_000 {}
}

#[tokio::test]
async fn a_large_event_of_which_nothing_has_arrived_is_not_passed_over() {
    // What comes before it fills all that the client's host has room for.
    let (server, place) = missed(WireConfig::default(), 60_000, 400_000).await;
    for _ in 0..4 {
        let mut stream = back(&server, &place).await;
        let some = read(&mut stream, 4 * 1024).await;
        assert!(some.contains(r#""type":"before""#));
    }
    eventually(|| server.stats().connections == 0).await;
    let (mut raw, _) = server.request(&handshake_of(&path(&place))).await;
    large(&mut raw).await;
    assert_eq!(server.stats().lost, 0);
}
