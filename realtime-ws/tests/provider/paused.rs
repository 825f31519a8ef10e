//! Clients that disconnect while the reading is paused, because the handlers are busy.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Raw, Server, frame, handshake_of};
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Handlers, RealtimeProvider};
use realtime_http::{HttpProvider, WireConfig};
use realtime_testkit::{Gate, TestServer, eventually};
use realtime_ws::{WsConfig, WsProvider};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Returns a provider without heartbeats whose handler waits at a gate.
fn gated() -> (WsProvider, Gate) {
    let gate = Gate::new();
    let config = WsConfig::default().with_heartbeat(None);
    (WsProvider::new(config).on("wait", gate.handler()), gate)
}

/// A client that sends events as long as the server takes bytes.
struct Stuffer {
    stream: TcpStream,
    event: Vec<u8>,
    sent: usize,
}

impl Stuffer {
    fn new(stream: TcpStream) -> Self {
        let event = frame(0x81, format!(r#"{{"type":"wait","payload":"{}"}}"#, "x".repeat(50_000)).as_bytes());
        Self { stream, event, sent: 0 }
    }

    /// Sends until the server's reading is paused and some bytes are unread.
    async fn stuff(&mut self) {
        while tokio::time::timeout(Duration::from_millis(300), self.stream.writable()).await.is_ok() {
            if let Ok(sent) = self.stream.try_write(&self.event[self.sent % self.event.len()..]) {
                self.sent += sent;
            }
        }
    }

    /// Returns the number of whole events sent.
    fn events(&self) -> usize {
        self.sent / self.event.len()
    }

    fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

#[tokio::test]
async fn reset_is_noticed_while_reading_is_paused() {
    let (provider, gate) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;

    client.reset();

    server.connections(0).await;
    // The hook waits for the handler that runs.
    gate.let_through(1);
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
}

#[tokio::test]
async fn reset_is_noticed_under_axum_serve_too() {
    let (provider, _gate) = gated();
    let ws = Arc::new(provider);
    ws.attach(Runtime::in_memory()).await.unwrap();
    let server = TestServer::start_on_axum(Arc::clone(&ws).router(), WireConfig::default()).await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client.write_all(handshake_of("/ws").as_bytes()).await.unwrap();
    eventually("one connection", || ws.stats().connections == 1).await;
    let mut client = Stuffer::new(client);
    client.stuff().await;

    client.reset();

    eventually("no connection", || ws.stats().connections == 0).await;
}

/// Events before the client's own close frame are handled, whether it waits for the answer or not.
#[tokio::test]
async fn events_before_a_clients_close_frame_are_all_handled() {
    let (provider, gate) = gated();
    let server = Server::start(provider).await;
    let Raw { mut stream } = server.raw("ann").await;
    for _ in 0..200 {
        stream.write_all(&frame(0x81, br#"{"type":"wait","payload":1}"#)).await.unwrap();
    }
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    stream.shutdown().await.unwrap();
    gate.let_through(1);
    eventually("one event is handled", || gate.passed() == 1).await;
    assert_eq!(server.stats().connections, 1);

    gate.let_through(1000);

    eventually("200 events are handled", || gate.passed() == 200).await;
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::NORMAL);
}

/// The check for a reset ends with the pause, and begins again with the next one.
#[tokio::test]
async fn reset_is_noticed_in_a_second_pause() {
    let (provider, gate) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;
    let events = client.events();
    gate.let_through(events);
    eventually("all events are handled", || gate.passed() == events).await;
    client.stuff().await;
    assert!(client.events() > events + 64, "{} after {events}", client.events());
    assert_eq!(server.stats().connections, 1);

    client.reset();

    server.connections(0).await;
    // The hook waits for the handler that runs.
    gate.let_through(1);
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
}
