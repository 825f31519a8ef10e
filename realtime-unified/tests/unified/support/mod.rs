//! What tests over real connections share: a collector of the log, and small clients of each transport.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "test code, of which each file uses a part")]

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use realtime_unified::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Writes down the fields of spans and events, with the span that each event stands in.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
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

/// One event of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    /// `name=value ` for each field.
    pub fields: String,
    /// The same of the span around it, behind the span's name.
    pub span: String,
}

impl Collector {
    /// Collects what this thread logs until the guard is dropped.
    ///
    /// A second subscriber stays: while there is only one, `tracing` asks the thread that comes to a
    /// place first whether that place is wanted, and that may be another test's, which has none.
    pub fn listen() -> (Self, DefaultGuard) {
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
        LazyLock::force(&SECOND);
        let collector = Self::default();
        let guard = tracing::subscriber::set_default(collector.clone());
        (collector, guard)
    }

    /// The spans there have been.
    pub fn spans(&self) -> Vec<String> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The lines whose fields have all of these texts in them.
    pub fn lines(&self, texts: &[&str]) -> Vec<Line> {
        let seen = self.0.lock().unwrap();
        let has_all = |line: &&Line| texts.iter().all(|text| line.fields.contains(text));
        seen.events.iter().filter(has_all).cloned().collect()
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("realtime") || metadata.target() == "tracing"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        seen.spans.push(format!("{} {}", attributes.metadata().name(), fields.0));
        Id::from_u64(seen.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        let span = seen.entered.last().map(|id| seen.spans[*id as usize - 1].clone()).unwrap_or_default();
        seen.events.push(Line { level: *event.metadata().level(), fields: fields.0, span });
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

/// Serves these routes on a free port, until the task is aborted.
pub async fn served(routes: axum::Router) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, routes).into_future()))
}

pub type WebSocket = tokio_tungstenite::WebSocketStream<MaybeTlsStream<TcpStream>>;

pub async fn websocket(address: SocketAddr, path: &str) -> WebSocket {
    tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap().0
}

/// A Socket.IO connection of this user, with this `auth`.
pub async fn socket(address: SocketAddr, user: &str, auth: &str) -> WebSocket {
    let path = format!("/socket.io/?EIO=4&transport=websocket&token={user}");
    let mut socket = websocket(address, &path).await;
    text_with(&mut socket, "0{").await;
    socket.send(Message::text(format!("40{auth}"))).await.unwrap();
    socket
}

/// The next text that begins with this.
pub async fn text_with(socket: &mut WebSocket, prefix: &str) -> String {
    let found = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) if text.starts_with(prefix) => return text.to_string(),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap()
}

/// The head of the answer to a GET.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.unwrap() > 0, "{}", String::from_utf8_lossy(&head));
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The only line with all of these, as soon as it is there.
pub async fn line(collector: &Collector, texts: &[&str]) -> Line {
    lines(collector, texts, 1).await.remove(0)
}

/// The lines with all of these, as soon as there are so many.
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
