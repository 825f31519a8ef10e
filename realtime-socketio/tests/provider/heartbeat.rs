//! Liveness of clients that are not read, and of clients that send or receive a large message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_core::{CloseReason, Context, Handlers, Inbound, Reply};
use realtime_socketio::SocketIoConfig;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, eventually, in_time, on_slow};

/// The time after which a silent client is closed.
const SILENCE: Duration = Duration::from_millis(600);

fn config() -> SocketIoConfig {
    SocketIoConfig::default().with_ping_interval(SILENCE / 3).with_ping_timeout(SILENCE / 3 * 2)
}

/// Starts a server whose handler of `slow` waits for a permit, and that accepts `up`.
async fn server(config: SocketIoConfig) -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let setup = Setup::from(config).with_handlers(move |provider| {
        on_slow(provider, waits).on_raw("up", async |_: Context, _: Inbound| Reply(true))
    });
    (setup.start().await, gate)
}

/// Number of events: more than may wait for a handler, and than one read takes.
pub(crate) const EVENTS: u64 = 200;

fn events() -> Vec<String> {
    (0..EVENTS).map(|n| format!("42{n}{}", json!(["slow", n, "x".repeat(200)]))).collect()
}

/// Sends [`EVENTS`] events `slow`; on long polling in a task, as the POST ends with the handlers.
pub(crate) async fn send_slow(client: &mut Client) -> JoinHandle<()> {
    match &client.wire {
        Wire::Polling(polling) => {
            let post = polling.http.post(&polling.url).body(events().join("\u{1e}")).send();
            tokio::spawn(async move { assert!(post.await.unwrap().status().is_success()) })
        }
        Wire::Websocket(_) => {
            client.send_all(events().into_iter().map(Packet::Text).collect()).await;
            tokio::spawn(async {})
        }
    }
}

/// Returns the answers to [`EVENTS`] events `slow`.
pub(crate) fn slow_acks() -> Vec<String> {
    (0..EVENTS).map(|n| format!("43{n}[{n}]")).collect()
}

#[tokio::test]
async fn client_that_answers_pings_outlives_slow_handlers() {
    for transport in TRANSPORTS {
        let (server, gate) = server(config()).await;
        let (mut client, id) = server.client(transport, "ann").await;
        let sending = send_slow(&mut client).await;
        let start = Instant::now();
        let (mut pings, mut acks) = (0, Vec::new());
        while acks.len() < EVENTS as usize {
            match in_time("a packet", client.wire.next()).await.expect("an open session") {
                Packet::Text(ping) if ping == "2" => {
                    pings += 1;
                    // On long polling the pong would be a second POST while the first one waits.
                    if let Wire::Websocket(websocket) = &mut client.wire {
                        websocket.send(vec![Packet::Text("3".to_owned())]).await;
                    }
                    if start.elapsed() > SILENCE * 3 {
                        gate.add_permits(EVENTS as usize);
                    }
                }
                Packet::Text(text) if text.starts_with("43") => acks.push(text),
                _ => {}
            }
        }
        // The client's own timer requires pings too.
        assert!(pings >= 5, "{transport:?}: {pings} pings");
        assert_eq!(acks, slow_acks(), "{transport:?}");
        assert_eq!(server.hooks.of(id).len(), 1, "{transport:?}: still connected");
        sending.await.unwrap();
    }
}

/// Writes these bytes in small pieces, for longer than a client may be silent.
async fn trickle(wire: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    let start = Instant::now();
    let pieces = 40;
    for piece in bytes.chunks(bytes.len() / pieces) {
        wire.write_all(piece).await.unwrap();
        wire.flush().await.unwrap();
        tokio::time::sleep(SILENCE * 3 / pieces as u32).await;
    }
    assert!(start.elapsed() > SILENCE * 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn large_event_on_slow_connection_is_received() {
    for transport in TRANSPORTS {
        let (server, _gate) = server(config()).await;
        let (mut client, id) = server.client(transport, "ann").await;
        let event = format!("421{}", json!(["up", "x".repeat(200_000)]));
        match &mut client.wire {
            Wire::Polling(polling) => {
                let path = polling.path();
                let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", event.len());
                let mut wire = tokio::net::TcpStream::connect(server.address()).await.unwrap();
                wire.write_all(head.as_bytes()).await.unwrap();
                trickle(&mut wire, event.as_bytes()).await;
            }
            Wire::Websocket(websocket) => {
                let mut frame = vec![0x81, 0xff];
                frame.extend((event.len() as u64).to_be_bytes());
                frame.extend([0; 4]);
                frame.extend(event.as_bytes());
                trickle(websocket.0.get_mut(), &frame).await;
            }
        }
        assert_eq!(client.ack(1).await, json!([true]), "{transport:?}");
        assert_eq!(server.hooks.of(id).len(), 1, "{transport:?}: still connected");
    }
}

/// A client that has disconnected while its handler hangs keeps its slot for `busy_timeout` only.
#[tokio::test]
async fn unread_client_is_closed_after_busy_timeout() {
    const BUSY: Duration = Duration::from_secs(2);
    for transport in TRANSPORTS {
        let (server, gate) = server(config().with_busy_timeout(BUSY)).await;
        let (mut client, id) = server.client(transport, "ann").await;
        let start = Instant::now();
        let sending = tokio::spawn(async move {
            client.send_all(events().into_iter().map(Packet::Text).collect()).await;
            client
        });
        eventually("a pause", || server.stats().events_in >= 64).await;
        server.connections(0).await;
        let ended = start.elapsed();
        gate.add_permits(EVENTS as usize);
        assert_eq!(server.ended(id).await, CloseReason::HEARTBEAT, "{transport:?}");
        assert!(ended >= BUSY && ended < BUSY * 3, "{transport:?}: {ended:?}");
        sending.abort();
    }
}

#[tokio::test]
async fn idle_client_stays_connected_on_every_transport() {
    let (server, _gate) = server(config()).await;
    let mut clients = vec![server.client(Transport::Polling, "ann").await.0.upgrade().await];
    for transport in TRANSPORTS {
        clients.push(server.client(transport, "ann").await.0);
    }
    for mut client in clients {
        tokio::spawn(async move { while client.next_packet().await.is_ok() {} });
    }
    tokio::time::sleep(SILENCE * 4).await;
    assert_eq!((server.stats().connections, server.stats().closed.len()), (3, 0));
}

/// Pings are sent between the packets of a client that always has packets to read.
#[tokio::test]
async fn client_with_many_packets_gets_pings_too() {
    for transport in TRANSPORTS {
        let (server, _gate) = server(config()).await;
        let (mut client, _) = server.client(transport, "ann").await;
        let start = Instant::now();
        let (mut pings, mut next) = (0, 0);
        while start.elapsed() < SILENCE * 3 {
            server.send_numbers("ann", next..next + 50).await;
            next += 50;
            let mut last = String::new();
            while !last.contains(&format!("42[\"n\",{},", next - 1)) {
                let packet = client.wire.next().await.expect("an open session");
                let Packet::Text(text) = packet else { panic!("text") };
                if text == "2" {
                    pings += 1;
                    client.send("3").await;
                }
                last = text;
            }
        }
        assert!((5..=12).contains(&pings), "{transport:?}: {pings} pings");
    }
}
