//! Clients that go while nothing is read from them, because the handlers have enough to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Raw, Server, eventually, frame, handshake_of};
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider};
use realtime_http::{GuardedListener, HttpProvider, WireConfig, WireInfo};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A provider whose handler waits at a gate, and how many events have passed it; nothing is written by itself.
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

    /// Goes on until the server's reading is paused and something is unread.
    async fn stuff(&mut self) {
        while tokio::time::timeout(Duration::from_millis(300), self.stream.writable()).await.is_ok() {
            if let Ok(sent) = self.stream.try_write(&self.event[self.sent % self.event.len()..]) {
                self.sent += sent;
            }
        }
    }

    /// Whole events so far.
    fn events(&self) -> usize {
        self.sent / self.event.len()
    }

    fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

#[tokio::test]
async fn a_client_whose_reading_is_paused_is_gone_when_it_is_reset() {
    let (provider, gate, _) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;

    client.reset();

    eventually(|| server.stats().connections == 0).await;
    // The hook waits for the handler that runs.
    gate.add_permits(1);
    assert_eq!(server.seen.end_of("ann").await, CloseReason::CONNECTION_LOST);
}

#[tokio::test]
async fn under_a_server_of_the_applications_own_too() {
    let (provider, _gate, _) = gated();
    let ws = Arc::new(provider);
    ws.attach(Runtime::in_memory()).await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let routes = Arc::clone(&ws).router().into_make_service_with_connect_info::<WireInfo>();
    let running = tokio::spawn(axum::serve(GuardedListener::new(tcp, WireConfig::default()), routes).into_future());
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(handshake_of("/ws").as_bytes()).await.unwrap();
    eventually(|| ws.stats().connections == 1).await;
    let mut client = Stuffer::new(client);
    client.stuff().await;

    client.reset();

    eventually(|| ws.stats().connections == 0).await;
    running.abort();
}

/// What was sent before the client's own goodbye is handled, whether it waits for the answer or not.
#[tokio::test]
async fn a_client_that_said_goodbye_and_shut_its_side_is_heard_to_the_end() {
    let (provider, gate, handled) = gated();
    let server = Server::start(provider).await;
    let Raw { mut stream } = server.raw("ann").await;
    for _ in 0..200 {
        stream.write_all(&frame(0x81, br#"{"type":"wait","payload":1}"#)).await.unwrap();
    }
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    stream.shutdown().await.unwrap();
    gate.add_permits(1);
    eventually(|| handled.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.stats().connections, 1);

    gate.add_permits(1000);

    eventually(|| handled.load(Ordering::SeqCst) == 200).await;
    assert_eq!(server.seen.end_of("ann").await, CloseReason::NORMAL);
}

/// The watch goes with the pause, and comes again with the next.
#[tokio::test]
async fn a_client_that_was_paused_before_is_gone_too() {
    let (provider, gate, handled) = gated();
    let server = Server::start(provider).await;
    let mut client = Stuffer::new(server.raw("ann").await.stream);
    client.stuff().await;
    let events = client.events();
    gate.add_permits(events);
    eventually(|| handled.load(Ordering::SeqCst) == events).await;
    client.stuff().await;
    assert!(client.events() > events + 64, "{} after {events}", client.events());
    assert_eq!(server.stats().connections, 1);

    client.reset();

    eventually(|| server.stats().connections == 0).await;
    // The hook waits for the handler that runs.
    gate.add_permits(1);
    assert_eq!(server.seen.end_of("ann").await, CloseReason::CONNECTION_LOST);
}
