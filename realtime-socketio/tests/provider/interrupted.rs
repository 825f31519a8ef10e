//! Connections that end within a large event, repeatedly.

use std::time::Duration;

use realtime_core::Target;
use realtime_http::WireConfig;
use realtime_socketio::SocketIoConfig;
use realtime_testkit::connect_with_small_buffer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Packet, Polling, Server, Setup, Transport, Wire, in_time};

/// Starts a server on which ann has missed a first event, a large one and a small one behind it.
/// Returns the `auth` to resume with too.
async fn missed(transport: Transport, wire: WireConfig, first: usize, large: usize) -> (Server, Value) {
    missed_by(Setup::default().with_wire(wire), transport, first, large).await
}

async fn missed_by(setup: Setup, transport: Transport, first: usize, large: usize) -> (Server, Value) {
    let server = setup.start().await;
    let mut client = server.open(transport).await;
    let cursor = client.enter(&json!({"user": "ann"})).await["cursor"].clone();
    client.send("41").await;
    server.connections(0).await;
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, "x".repeat(size)).await;
    }
    (server, json!({"user": "ann", "lastEventId": cursor}))
}

/// Connects ann with a small receive buffer, reads up to the event of this name and `more` bytes
/// behind its start, and disconnects. Returns the bytes read.
async fn read_some(server: &Server, transport: Transport, auth: &Value, name: &str, more: usize) -> String {
    let mut client = server.open_small(transport).await;
    let some = match &mut client.wire {
        Wire::Websocket(websocket) => {
            websocket.send(vec![Packet::Text(format!("40{auth}"))]).await;
            read_behind(websocket.0.get_mut(), name, more).await.unwrap()
        }
        Wire::Polling(polling) => {
            let (stream, some) = read_responses(server, polling, auth, name, more).await;
            drop(stream);
            some
        }
    };
    leave(server, client).await;
    some
}

/// Connects, and reads responses up to the event of this name and `more` bytes behind its start.
/// Returns the connection of the last response and the bytes read.
async fn read_responses(
    server: &Server,
    polling: &Polling,
    auth: &Value,
    name: &str,
    more: usize,
) -> (TcpStream, String) {
    polling.post(format!("40{auth}")).await;
    let path = polling.path();
    let found = async {
        loop {
            let mut stream = connect_with_small_buffer(server.address()).await;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            if let Some(some) = read_behind(&mut stream, name, more).await {
                return (stream, some);
            }
        }
    };
    in_time(name, found).await
}

/// Reads up to the event of this name and `more` bytes behind its start. Returns none when the
/// stream, or the response, ends before.
async fn read_behind(stream: &mut TcpStream, name: &str, more: usize) -> Option<String> {
    let mut read = Vec::new();
    let mut buffer = vec![0; 4 * 1024];
    loop {
        let text = String::from_utf8_lossy(&read);
        if text.find(&format!("42[\"{name}\"")).is_some_and(|begin| begin + more <= read.len()) {
            return Some(text.into_owned());
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Some((_, length)) = head.split_once("content-length: ")
            && length.split_once("\r\n").map_or(length, |(length, _)| length) == body.len().to_string()
        {
            return None;
        }
        match in_time("a part", stream.read(&mut buffer)).await.unwrap() {
            0 => return None,
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Connects, and reads events with these names.
async fn read_all(server: &Server, transport: Transport, auth: &Value, names: [&str; 4]) -> Client {
    let mut client = server.open(transport).await;
    client.connect("/", auth).await.unwrap();
    for name in names {
        client.event(name).await;
    }
    client
}

/// Disconnects. On long polling, the session is closed by a POST, as a GET would show that the
/// response has arrived.
async fn leave(server: &Server, client: Client) {
    if let Wire::Polling(polling) = &client.wire {
        // Fails if the session has ended with the response.
        polling.post("1").await;
    }
    drop(client);
    server.connections(0).await;
}

/// On a line that is too slow for a large event, the client's own timer ends the connection before
/// the event has arrived.
#[tokio::test]
async fn large_event_is_skipped_after_three_interruptions() {
    let mut cases = vec![(WireConfig::default().with_unsent_low_water(16 * 1024), 900_000)];
    // The kernel buffers the smaller events completely.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (case, transport) in cases.iter().flat_map(|case| crate::TRANSPORTS.map(|transport| (case, transport))) {
        let (wire, size) = case.clone();
        let (server, auth) = missed(transport, wire, 1, size).await;
        for attempt in 0..3 {
            read_some(&server, transport, &auth, "large", 24 * 1024).await;
            assert_eq!(server.stats().lost, 0, "{transport:?} {size} {attempt}");
        }
        let mut last = server.open(transport).await;
        last.connect("/", &auth).await.unwrap();
        assert_eq!(last.event("connected").await["resumed"], true);
        last.event("before").await;
        let lost = last.event("lost").await;
        assert_eq!(lost["position"], 2, "{transport:?} {size}");
        assert!(lost["size"].as_u64().unwrap() > size as u64);
        last.event("behind").await;
    }
}

/// The ping is behind the large event, so that its answer is too late.
#[tokio::test]
async fn large_event_is_skipped_after_three_ping_timeouts() {
    let interval = Duration::from_millis(300);
    let config = SocketIoConfig::default().with_ping_interval(interval).with_ping_timeout(interval);
    for transport in crate::TRANSPORTS {
        let (server, auth) = missed_by(Setup::from(config.clone()), transport, 1, 70_000).await;
        for _ in 0..3 {
            let mut client = server.open_small(transport).await;
            let _stream = match &mut client.wire {
                Wire::Websocket(websocket) => {
                    websocket.send(vec![Packet::Text(format!("40{auth}"))]).await;
                    read_behind(websocket.0.get_mut(), "large", 24 * 1024).await.unwrap();
                    None
                }
                Wire::Polling(polling) => Some(read_responses(&server, polling, &auth, "large", 24 * 1024).await),
            };
            server.connections(0).await;
        }
        read_all(&server, transport, &auth, ["connected", "before", "lost", "behind"]).await;
    }
}

#[tokio::test]
async fn large_event_that_arrived_is_not_skipped() {
    for transport in crate::TRANSPORTS {
        let (server, auth) = missed(transport, WireConfig::default(), 1, 70_000).await;
        for _ in 0..4 {
            // With unread bytes the client's host would send a reset, which acknowledges nothing.
            let client = read_all(&server, transport, &auth, ["connected", "before", "large", "behind"]).await;
            leave(&server, client).await;
        }
    }
}

#[tokio::test]
async fn large_event_without_arrived_bytes_is_not_skipped() {
    for transport in crate::TRANSPORTS {
        // The event before it fills the receive buffer of the client's host.
        let (server, auth) = missed(transport, WireConfig::default(), 60_000, 400_000).await;
        for _ in 0..4 {
            let some = read_some(&server, transport, &auth, "before", 4 * 1024).await;
            assert!(!some.contains("42[\"large\""));
        }
        read_all(&server, transport, &auth, ["connected", "before", "large", "behind"]).await;
    }
}

/// The next GET of a session shows that the previous response has arrived.
#[tokio::test]
async fn response_counts_as_arrived_at_next_get() {
    let (server, auth) = missed(Transport::Polling, WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let mut client = server.open(Transport::Polling).await;
        let Wire::Polling(polling) = &mut client.wire else { unreachable!() };
        let (_stream, _) = read_responses(&server, polling, &auth, "large", 24 * 1024).await;
        // A proxy has accepted the response for its client, which polls again on another
        // connection.
        server.send(Target::user("ann"), "more", 1).await;
        in_time("an answer", polling.get()).await.unwrap();
        leave(&server, client).await;
    }
    assert_eq!(server.stats().lost, 0);
}
