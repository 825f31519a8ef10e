//! Clients that disconnect while the reading is paused, because the handlers are busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Raw, Server, frame, handshake_of};
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider};
use realtime_http::{HttpProvider, WireConfig};
use realtime_testkit::{TestServer, eventually};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Returns a provider without heartbeats whose handler waits at a gate, the gate, and the number of
/// events that have passed it.
fn gated() -> (WsProvider, Arc<Semaphore>, Arc<AtomicUsize>) {
    let (gate, handled) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let provider = WsProvider::new(WsConfig::default().with_heartbeat(None)).on("wait", {
        let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
        move |_: Context, _: Value| {
            let (gate, handled) = (Arc::clone(&gate), Arc::clone(&handled));
            async move {
                gate.acquire().await.unwrap().forget();
                handled.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (provider, gate, handled)
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
    let (provider, gate, _) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;

    client.reset();

    server.connections(0).await;
    // The hook waits for the handler that runs.
    gate.add_permits(1);
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
}

#[tokio::test]
async fn reset_is_noticed_under_axum_serve_too() {
    let (provider, _gate, _) = gated();
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
    let (provider, gate, handled) = gated();
    let server = Server::start(provider).await;
    let Raw { mut stream } = server.raw("ann").await;
    for _ in 0..200 {
        stream.write_all(&frame(0x81, br#"{"type":"wait","payload":1}"#)).await.unwrap();
    }
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    stream.shutdown().await.unwrap();
    gate.add_permits(1);
    eventually("one event is handled", || handled.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.stats().connections, 1);

    gate.add_permits(1000);

    eventually("200 events are handled", || handled.load(Ordering::SeqCst) == 200).await;
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::NORMAL);
}

/// The check for a reset ends with the pause, and begins again with the next one.
#[tokio::test]
async fn reset_is_noticed_in_a_second_pause() {
    let (provider, gate, handled) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;
    let events = client.events();
    gate.add_permits(events);
    eventually("all events are handled", || handled.load(Ordering::SeqCst) == events).await;
    client.stuff().await;
    assert!(client.events() > events + 64, "{} after {events}", client.events());
    assert_eq!(server.stats().connections, 1);

    client.reset();

    server.connections(0).await;
    // The hook waits for the handler that runs.
    gate.add_permits(1);
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
}
