//! A server on a free port, and clients that return the blocks of their streams.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod http2;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, StatusCode};
use realtime_core::spi::Runtime;
use realtime_http::{HttpProvider, WireConfig};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::{ByQuery, DEADLINE, Served, connect_with_small_buffer, in_time, read_head};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The configuration of a server.
pub(crate) struct Setup {
    pub(crate) sse: SseConfig,
    pub(crate) runtime: Runtime,
    pub(crate) wire: WireConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self { sse: SseConfig::default(), runtime: runtime(), wire: WireConfig::default() }
    }
}

/// Returns a runtime in memory that identifies a client by its query.
pub(crate) fn runtime() -> Runtime {
    Runtime::in_memory().with_authenticator(ByQuery)
}

impl From<SseConfig> for Setup {
    fn from(sse: SseConfig) -> Self {
        Self { sse, ..Self::default() }
    }
}

impl Setup {
    pub(crate) async fn start(self) -> Server {
        self.start_with(SseProvider::router).await
    }

    /// Starts a server with routes of the test's own.
    pub(crate) async fn start_with(self, routes: impl FnOnce(Arc<SseProvider>) -> axum::Router) -> Server {
        Server(Served::start_with(SseProvider::new(self.sse), self.runtime, self.wire, routes).await)
    }
}

/// A provider on a free port, and the clients for it.
pub(crate) struct Server(pub(crate) Served<SseProvider>);

impl Deref for Server {
    type Target = Served<SseProvider>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    /// Returns a request that may be changed before it is sent.
    pub(crate) fn get(&self, path_and_query: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().get(self.url(path_and_query))
    }

    /// Opens a stream that must be accepted, and reads past its `connected`.
    pub(crate) async fn open(&self, query: &str) -> Reader {
        let mut reader = Reader::of(self.get(&format!("/sse?{query}"))).await;
        assert_eq!(reader.status, StatusCode::OK);
        reader.connected().await;
        reader
    }

    /// Opens a stream as [`open_raw`] does.
    pub(crate) async fn open_raw(&self, query: &str) -> TcpStream {
        open_raw(self.address(), query).await
    }
}

/// Opens a stream over HTTP/1.0, whose bytes are not in chunks, with a small receive buffer, and
/// reads nothing.
pub(crate) async fn open_raw(address: SocketAddr, query: &str) -> TcpStream {
    let mut client = connect_with_small_buffer(address).await;
    client.write_all(format!("GET /sse?{query} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    client
}

/// One block of a stream, or a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) event: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) comment: bool,
}

impl Block {
    fn parse(text: &str) -> Self {
        assert!(!text.contains('\r'), "expected lines that end with LF: {text:?}");
        let mut block = Self::default();
        for line in text.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => block.event = Some(value.to_owned()),
                ("id", value) => block.id = Some(value.to_owned()),
                ("retry", value) => block.retry = Some(value.to_owned()),
                ("data", value) => {
                    block.data = Some(block.data.map_or(value.to_owned(), |data| format!("{data}\n{value}")));
                }
                _ => panic!("expected a field of an event stream, got {line:?}"),
            }
        }
        block
    }

    pub(crate) fn name(&self) -> &str {
        self.event.as_deref().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

/// A response, read block by block.
pub(crate) struct Reader {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) version: http::Version,
    bytes: BoxStream<'static, Result<Bytes, String>>,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = in_time("a response", request.send()).await.unwrap();
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            version: response.version(),
            bytes: response.bytes_stream().map(|bytes| bytes.map_err(|error| format!("{error:?}"))).boxed(),
            buffer: Vec::new(),
        }
    }

    /// Reads the response of [`open_raw`].
    pub(crate) async fn of_raw(mut client: TcpStream) -> Self {
        let head = read_head(&mut client).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let bytes = stream::unfold(client, async |mut client| {
            let mut piece = vec![0; 4096];
            match client.read(&mut piece).await {
                Ok(0) => None,
                Ok(len) => {
                    piece.truncate(len);
                    Some((Ok(piece.into()), client))
                }
                Err(error) => Some((Err(error.to_string()), client)),
            }
        });
        Self {
            status,
            headers: HeaderMap::new(),
            version: http::Version::HTTP_10,
            bytes: bytes.boxed(),
            buffer: Vec::new(),
        }
    }

    /// Returns the next block or comment; `None` at the orderly end of the stream, an error after a
    /// reset.
    pub(crate) async fn try_block(&mut self) -> Result<Option<Block>, String> {
        loop {
            // A comment is a line of its own, not a block.
            if self.buffer.starts_with(b":\n") {
                self.buffer.drain(..2);
                return Ok(Some(Block { comment: true, ..Block::default() }));
            }
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let text = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(Block::parse(std::str::from_utf8(&text[..end]).unwrap())));
            }
            match in_time("a block", self.bytes.next()).await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => {
                    let rest = String::from_utf8(std::mem::take(&mut self.buffer)).unwrap();
                    // A server that shuts down sends only when to reconnect.
                    let is_retry = rest.starts_with("retry: ") && rest.lines().count() == 1;
                    assert!(rest.is_empty() || is_retry, "expected a whole block before the end, got {rest:?}");
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn block(&mut self) -> Block {
        self.try_block().await.unwrap().expect("expected a block, got the end of the stream")
    }

    /// Returns the next event; comments, `retry:` and bare ids are skipped.
    pub(crate) async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await;
            if block.data.is_some() {
                return block;
            }
        }
    }

    /// Returns the data of the first block, which must be `connected`.
    pub(crate) async fn connected(&mut self) -> Value {
        let event = self.block().await;
        assert_eq!(event.name(), "connected");
        event.json()
    }

    /// Returns the next event, which must be this one.
    pub(crate) async fn expect(&mut self, name: &str, value: impl Serialize) -> Block {
        let event = self.event().await;
        assert_eq!((event.name(), event.json()), (name, serde_json::to_value(value).unwrap()));
        event
    }

    /// Reads to the orderly end of the stream; no event may come before, but those that announce
    /// it.
    pub(crate) async fn ended(&mut self) {
        while let Some(block) = self.try_block().await.unwrap() {
            assert!(block.data.is_none() || ["closed", "expiring"].contains(&block.name()), "{block:?}");
        }
    }

    /// Reads to the end of the stream, orderly or not.
    pub(crate) async fn drain(&mut self) {
        let start = Instant::now();
        while let Ok(Some(_)) = self.try_block().await {
            assert!(start.elapsed() < DEADLINE, "expected the end of the stream");
        }
    }

    /// Returns the error in the body of a refusal.
    pub(crate) async fn error(mut self) -> Value {
        let mut body = Vec::new();
        while let Some(piece) = in_time("a body", self.bytes.next()).await {
            body.extend_from_slice(&piece.unwrap());
        }
        serde_json::from_slice::<Value>(&body).unwrap()["error"].take()
    }
}
