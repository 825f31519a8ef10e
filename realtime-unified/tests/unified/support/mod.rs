//! Helpers for tests over real connections: a collector of the log, and a small client of each
//! transport.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "test code, of which each file uses a part")]

pub mod capture;
#[cfg(feature = "tls")]
pub mod http2;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{SseClient, WsClient, in_time, read_head};
use realtime_unified::memory::{MemoryBackplane, MemoryDirectory};
use realtime_unified::{ConnectRequest, Identity, NotificationService, NotificationServiceBuilder, Refusal, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// A subscriber that records the fields of spans and events, and the span of each event.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<String>,
    entered: Vec<u64>,
    events: Vec<Line>,
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

/// An event of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    /// The fields, as `name=value ` each.
    pub fields: String,
    /// The name and the fields of each span that the event is in, the outermost first.
    pub spans: Vec<String>,
}

impl Line {
    /// Asserts that the fields contain each of these texts.
    pub fn assert_has(&self, texts: &[&str]) {
        for text in texts {
            assert!(self.fields.contains(text), "{text}: {self:?}");
        }
    }
}

impl Collector {
    /// Collects the spans and events of this thread until the guard is dropped.
    pub fn install() -> (Self, DefaultGuard) {
        Self::install_second();
        let collector = Self::default();
        let guard = tracing::subscriber::set_default(collector.clone());
        (collector, guard)
    }

    /// Installs a second subscriber permanently: with only one, `tracing` caches the interest of
    /// the thread that reaches a callsite first, which may be a thread of another test without a
    /// subscriber.
    pub fn install_second() {
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
        LazyLock::force(&SECOND);
    }

    /// Returns all spans so far.
    pub fn spans(&self) -> Vec<String> {
        self.0.lock().unwrap().spans.clone()
    }

    /// Returns the events whose fields contain all of these texts.
    pub fn lines(&self, texts: &[&str]) -> Vec<Line> {
        let recorded = self.0.lock().unwrap();
        let has_all = |line: &&Line| texts.iter().all(|text| line.fields.contains(text));
        recorded.events.iter().filter(has_all).cloned().collect()
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("realtime") || metadata.target() == "tracing"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut recorded = self.0.lock().unwrap();
        recorded.spans.push(format!("{} {}", attributes.metadata().name(), fields.0));
        Id::from_u64(recorded.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut recorded = self.0.lock().unwrap();
        let spans = recorded.entered.iter().map(|id| recorded.spans[*id as usize - 1].clone()).collect();
        recorded.events.push(Line { level: *event.metadata().level(), fields: fields.0, spans });
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

/// Serves these routes on a free port until the task is aborted.
pub async fn served(routes: axum::Router) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, routes).into_future()))
}

pub type WebSocket = tokio_tungstenite::WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket connection to this path.
pub async fn websocket(address: SocketAddr, path: &str) -> WebSocket {
    tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap().0
}

/// Connects a client to this path, without reconnects, and reads its welcome.
pub async fn ws_client(address: SocketAddr, path: &str) -> WsClient {
    let mut client = WsClient::new(format!("ws://{address}{path}")).without_reconnect();
    client.next_of("connected").await.unwrap();
    client
}

/// Connects a client to this path, without reconnects, and reads its welcome.
pub async fn sse_client(address: SocketAddr, path: &str) -> SseClient {
    let mut client = SseClient::new(format!("http://{address}{path}")).without_reconnect();
    client.next_of("connected").await.unwrap();
    client
}

/// Opens a Socket.IO connection of this user, with this `auth`.
pub async fn socket(address: SocketAddr, user: &str, auth: &str) -> WebSocket {
    let path = format!("/socket.io/?EIO=4&transport=websocket&token={user}");
    let mut socket = websocket(address, &path).await;
    text_with(&mut socket, "0{").await;
    socket.send(Message::text(format!("40{auth}"))).await.unwrap();
    socket
}

/// Opens a Socket.IO connection of this user, which must be accepted.
pub async fn accepted_socket(address: SocketAddr, user: &str, auth: &str) -> WebSocket {
    let mut socket = socket(address, user, auth).await;
    text_with(&mut socket, "40").await;
    socket
}

/// Returns the next text message that begins with this prefix.
pub async fn text_with(socket: &mut WebSocket, prefix: &str) -> String {
    let found = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) if text.starts_with(prefix) => return text.to_string(),
                _ => {}
            }
        }
    };
    in_time(format!("a text {prefix}"), found).await
}

/// Sends a GET request and returns the head of the response.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n").as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

/// Sends a request without a body and returns the head of the response and its JSON.
pub async fn answer(address: SocketAddr, line: &str, headers: &str) -> (String, serde_json::Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    in_time("a body", tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body)).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap_or_default())
}

/// The headers of a WebSocket handshake.
pub const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Waits for the only event with all of these texts.
pub async fn line(collector: &Collector, texts: &[&str]) -> Line {
    lines(collector, texts, 1).await.remove(0)
}

/// Waits until `count` events have all of these texts, and returns them.
pub async fn lines(collector: &Collector, texts: &[&str], count: usize) -> Vec<Line> {
    for _ in 0..1000 {
        let lines = collector.lines(texts);
        if lines.len() == count {
            return lines;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{texts:?}: {:#?}", collector.lines(&["refused"]));
}

/// Identifies the user by `?token=`, whose value is the name.
pub async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    Ok(request.token().map_or(Identity::anonymous(), |user| Identity::user(&*user)))
}

/// A log and a directory that nodes share.
#[derive(Clone, Default)]
pub struct Shared {
    pub backplane: MemoryBackplane,
    pub directory: Arc<MemoryDirectory>,
}

impl Shared {
    /// Starts a node of this name.
    pub async fn start(&self, name: &str, node: NotificationServiceBuilder) -> (NotificationService, SocketAddr) {
        start(node.node_name(name).backplane(self.backplane.clone()).directory(Arc::clone(&self.directory))).await
    }

    /// Builds the service of a process that only publishes.
    pub async fn publisher(&self) -> NotificationService {
        let builder = NotificationService::publisher(self.backplane.clone());
        builder.directory(Arc::clone(&self.directory)).build().await.unwrap()
    }
}

/// Builds the service and serves its routes for as long as the test runs.
pub async fn start(builder: NotificationServiceBuilder) -> (NotificationService, SocketAddr) {
    let service = builder.build().await.unwrap();
    let (address, _) = served(service.router()).await;
    (service, address)
}
