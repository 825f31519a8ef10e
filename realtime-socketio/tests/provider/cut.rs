//! Connections that end within a large event, again and again.

use std::time::Duration;

use realtime_core::Target;
use realtime_http::WireConfig;
use realtime_socketio::SocketIoConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::slow::small_stream;
use crate::support::{Client, Packet, Polling, Server, Setup, Transport, Wire, soon};

/// What ann's next CONNECT says, and what she has missed since: a first event, a large one and a small one behind it.
async fn missed(transport: Transport, wire: WireConfig, first: usize, large: usize) -> (Server, Value) {
    missed_by(Setup::default().with_wire(wire), transport, first, large).await
}

async fn missed_by(setup: Setup, transport: Transport, first: usize, large: usize) -> (Server, Value) {
    let server = setup.start().await;
    let mut client = server.open(transport).await;
    client.connect("/", &json!({"user": "ann"})).await.unwrap();
    let place = client.event("connected").await["cursor"].clone();
    client.send("41").await;
    server.connections(0).await;
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, "x".repeat(size)).await;
    }
    (server, json!({"user": "ann", "lastEventId": place}))
}

/// The bytes of ann's next connection up to this text and so many more behind it, with a host that keeps little of what
/// she does not read; it ends then.
async fn read_some(server: &Server, transport: Transport, auth: &Value, name: &str, more: usize) -> String {
    let buffer = Some(8 * 1024);
    let mut client = Client::open_with(server.address, transport, "/socket.io/", "", buffer).await.unwrap();
    let some = match &mut client.wire {
        Wire::Websocket(websocket) => {
            websocket.send(vec![Packet::Text(format!("40{auth}"))]).await;
            read_behind(websocket.0.get_mut(), name, more).await.unwrap()
        }
        Wire::Polling(polling) => {
            let (stream, some) = read_answers(server, polling, auth, name, more).await;
            drop(stream);
            some
        }
    };
    leave(server, client).await;
    some
}

/// Connects, and reads answers up to the one with this name and so many more bytes of it, whose connection is handed back.
async fn read_answers(
    server: &Server,
    polling: &Polling,
    auth: &Value,
    name: &str,
    more: usize,
) -> (TcpStream, String) {
    polling.post(format!("40{auth}")).await;
    let path = polling.url.split_once(&server.address.to_string()).unwrap().1;
    let found = async {
        loop {
            let mut stream = small_stream(server).await;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            if let Some(some) = read_behind(&mut stream, name, more).await {
                return (stream, some);
            }
        }
    };
    soon(name, found).await
}

/// None when the stream, or the answer, has ended before.
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
        match soon("a part", stream.read(&mut buffer)).await.unwrap() {
            0 => return None,
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// On long polling, what was in the answer is all that tells whether it has arrived.
async fn leave(server: &Server, client: Client) {
    if let Wire::Polling(polling) = &client.wire {
        // Refused if the session has ended with the answer.
        polling.post("1").await;
    }
    drop(client);
    soon("the end", server.connections(0)).await;
}

/// A line that is too slow for a large event: the client's own timer ends the connection before it is there.
#[tokio::test]
async fn a_large_event_that_is_cut_three_times_is_passed_over() {
    let mut cases = vec![(WireConfig::default().with_unsent_low_water(16 * 1024), 900_000)];
    // The kernel takes the smaller ones whole.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (case, transport) in cases.iter().flat_map(|case| crate::TRANSPORTS.map(|transport| (case, transport))) {
        let (wire, size) = case.clone();
        let (server, auth) = missed(transport, wire, 1, size).await;
        for cut in 0..3 {
            read_some(&server, transport, &auth, "large", 24 * 1024).await;
            assert_eq!(server.stats().lost, 0, "{transport:?} {size} {cut}");
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

/// The answer to a ping that stands behind the large event comes too late.
#[tokio::test]
async fn one_that_is_cut_by_the_heartbeat_is_passed_over_too() {
    let beat = Duration::from_millis(300);
    let config = SocketIoConfig::default().with_ping_interval(beat).with_ping_timeout(beat);
    for transport in crate::TRANSPORTS {
        let (server, auth) = missed_by(Setup::from(config.clone()), transport, 1, 70_000).await;
        for _ in 0..3 {
            let buffer = Some(8 * 1024);
            let mut client = Client::open_with(server.address, transport, "/socket.io/", "", buffer).await.unwrap();
            let _stream = match &mut client.wire {
                Wire::Websocket(websocket) => {
                    websocket.send(vec![Packet::Text(format!("40{auth}"))]).await;
                    read_behind(websocket.0.get_mut(), "large", 24 * 1024).await.unwrap();
                    None
                }
                Wire::Polling(polling) => Some(read_answers(&server, polling, &auth, "large", 24 * 1024).await),
            };
            soon("the end", server.connections(0)).await;
        }
        let mut last = server.open(transport).await;
        last.connect("/", &auth).await.unwrap();
        for name in ["connected", "before", "lost", "behind"] {
            last.event(name).await;
        }
    }
}

#[tokio::test]
async fn a_large_event_that_has_arrived_is_not_passed_over() {
    for transport in crate::TRANSPORTS {
        let (server, auth) = missed(transport, WireConfig::default(), 1, 70_000).await;
        for _ in 0..4 {
            let mut client = server.open(transport).await;
            client.connect("/", &auth).await.unwrap();
            // With something unread its host would answer with a reset, which acknowledges nothing.
            for name in ["connected", "before", "large", "behind"] {
                client.event(name).await;
            }
            leave(&server, client).await;
        }
    }
}

#[tokio::test]
async fn a_large_event_of_which_nothing_has_arrived_is_not_passed_over() {
    for transport in crate::TRANSPORTS {
        // What comes before it fills all that the client's host has room for.
        let (server, auth) = missed(transport, WireConfig::default(), 60_000, 400_000).await;
        for _ in 0..4 {
            let some = read_some(&server, transport, &auth, "before", 4 * 1024).await;
            assert!(!some.contains("42[\"large\""));
        }
        let mut last = server.open(transport).await;
        last.connect("/", &auth).await.unwrap();
        for name in ["connected", "before", "large", "behind"] {
            last.event(name).await;
        }
    }
}

/// The next GET of a session says that the answer to the one before has arrived.
#[tokio::test]
async fn an_answer_is_out_when_its_client_asks_again() {
    let (server, auth) = missed(Transport::Polling, WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let mut client = server.open(Transport::Polling).await;
        let Wire::Polling(polling) = &mut client.wire else { unreachable!() };
        let (_stream, _) = read_answers(&server, polling, &auth, "large", 24 * 1024).await;
        // A proxy has taken the answer for its client, which asks on over another connection.
        server.send(Target::user("ann"), "more", 1).await;
        soon("an answer", polling.get()).await.unwrap();
        leave(&server, client).await;
    }
    assert_eq!(server.stats().lost, 0);
}
