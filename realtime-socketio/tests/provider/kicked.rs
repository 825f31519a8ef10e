//! Kicked clients that continue to send: their events are not handled, and events that they had
//! sent before are dropped unless a handler has started.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider, Target};
use realtime_http::WireConfig;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, Wire, eventually};

/// Handler that counts events, each of which waits for a permit.
#[derive(Clone)]
struct Counter {
    started: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

impl Counter {
    async fn start() -> (Self, Server) {
        let counter = Self { started: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let handler = counter.clone();
        let setup = Setup::default().with_wire(WireConfig::default().with_unsent_low_water(16 * 1024));
        let setup = setup.with_handlers(move |provider| {
            provider.on("count", move |_: Context, _: Value| {
                let Self { started, gate } = handler.clone();
                async move {
                    started.fetch_add(1, SeqCst);
                    gate.acquire().await.unwrap().forget();
                }
            })
        });
        (counter, setup.start().await)
    }
}

/// Connects a client that reads nothing after its welcome, and sends it more than its connection
/// buffers.
async fn stuck(server: &Server, transport: Transport) -> (Client, realtime_core::ConnectionId) {
    let (client, id) = server.client(transport, "ann").await;
    match transport {
        Transport::Polling => server.send_numbers("ann", 0..100).await,
        Transport::Websocket => {
            while server.stats().overflows == 0 {
                server.send(Target::user("ann"), "n", "x".repeat(100_000)).await;
            }
        }
    }
    (client, id)
}

#[tokio::test]
async fn events_of_kicked_client_are_not_handled() {
    for transport in TRANSPORTS {
        let (counter, server) = Counter::start().await;
        let (mut client, id) = stuck(&server, transport).await;
        client.emit_all((0..10).map(|n| ("count", Value::from(n)))).await;
        eventually("ten events", || server.stats().events_in == 10 && counter.started.load(SeqCst) == 1).await;
        server.provider.close(Target::connection(id), CloseReason::KICKED).await.unwrap();
        counter.gate.add_permits(1_000_000);
        let sending = tokio::spawn(async move {
            match client.wire {
                Wire::Polling(polling) => {
                    while polling.post("42[\"count\",1]").await.is_some_and(|s| s.is_success()) {}
                }
                Wire::Websocket(mut websocket) => {
                    while websocket.0.send(Frame::text("42[\"count\",1]")).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        });
        assert_eq!(server.ended(id).await, CloseReason::KICKED);
        sending.abort();
        assert_eq!(counter.started.load(SeqCst), 1, "{transport:?}: handled after the kick");
        assert_eq!((server.stats().events_in, server.stats().unhandled), (10, 9));
    }
}

/// A client that is not read cannot keep the server busy.
#[tokio::test]
async fn kicked_client_on_long_polling_is_not_read() {
    let (_counter, server) = Counter::start().await;
    let (client, id) = stuck(&server, Transport::Polling).await;
    let Wire::Polling(polling) = client.wire else { unreachable!() };
    server.provider.close(Target::connection(id), CloseReason::KICKED).await.unwrap();
    let start = Instant::now();
    // The first packet is read before the close is checked.
    polling.post("42[\"count\",1]").await;
    polling.post("42[\"count\",2]").await;
    // The queued frames have 5 s.
    assert!(start.elapsed() > Duration::from_secs(4), "response after {:?}", start.elapsed());
    assert_eq!(server.ended(id).await, CloseReason::KICKED);
}

#[tokio::test]
async fn kicked_client_on_websocket_is_not_read() {
    // More than all buffers of the connection hold.
    const EVENTS: u64 = 2_000;
    let (_counter, server) = Counter::start().await;
    let (mut client, id) = stuck(&server, Transport::Websocket).await;
    server.provider.close(Target::connection(id), CloseReason::KICKED).await.unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let event = format!("42[\"count\",\"{}\"]", "x".repeat(100_000));
        for _ in 0..EVENTS {
            client.send_all(vec![Packet::Text(event.clone())]).await;
            count.fetch_add(1, SeqCst);
        }
    });
    eventually("the disconnect", || server.stats().connections == 0).await;
    assert!(sent.load(SeqCst) < EVENTS / 2, "{} events were read", sent.load(SeqCst));
    sending.abort();
}

/// The handler of a full inbox makes room after the close.
#[tokio::test]
async fn reading_of_kicked_client_is_not_resumed() {
    for transport in TRANSPORTS {
        let (counter, server) = Counter::start().await;
        let (mut client, id) = stuck(&server, transport).await;
        let sending = tokio::spawn(async move {
            client.emit_all((0..10_000).map(|n| ("count", Value::from(n)))).await;
            client
        });
        eventually("a full inbox", || server.stats().events_in >= 64 && counter.started.load(SeqCst) == 1).await;
        let read = server.stats().events_in;
        server.provider.close(Target::connection(id), CloseReason::KICKED).await.unwrap();
        counter.gate.add_permits(1_000_000);
        assert_eq!(server.ended(id).await, CloseReason::KICKED);
        assert_eq!((counter.started.load(SeqCst), server.stats().events_in), (1, read), "{transport:?}");
        assert_eq!(server.stats().unhandled, read - 1);
        sending.abort();
    }
}
