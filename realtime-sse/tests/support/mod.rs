//! A server on a free port, and clients that show the blocks they get.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod http2;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, StatusCode};
use realtime_core::spi::Runtime;
use realtime_core::{
    Authenticator, CloseReason, ConnectRequest, ConnectionInfo, Context, Event, Identity, LifecycleHook,
    RealtimeProvider, Receipt, Refusal, Target,
};
use realtime_http::{HttpProvider, WireConfig, serve};
use realtime_sse::{SseConfig, SseProvider};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// How long anything may take on a loaded machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come, with a deadline.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come"),
    }
}

/// Looks until it is so, with a deadline.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Makes a client vanish: its host's kernel gets nothing more, and says nothing.
#[cfg(target_os = "linux")]
pub(crate) fn vanish(stream: &TcpStream) {
    // A program that drops each packet: BPF_RET | BPF_K with zero.
    let drop_all = socket2::SockFilter::new(6, 0, 0, 0);
    socket2::SockRef::from(stream).attach_filter(&[drop_all]).unwrap();
}

/// Takes `?user=` and `?tenant=` at their word, and refuses who says nothing.
pub(crate) struct ByQuery;

#[async_trait]
impl Authenticator for ByQuery {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.query("user").ok_or_else(|| Refusal::unauthorized("who are you?"))?;
        if user == "banned" {
            return Err(Refusal::forbidden("not you"));
        }
        let identity = Identity::user(user);
        Ok(match request.query("tenant") {
            Some(tenant) => identity.with_tenant(tenant),
            None => identity,
        })
    }
}

/// Writes down who came and who went.
#[derive(Clone, Default)]
pub(crate) struct Life(Arc<Mutex<Vec<Passage>>>);

struct Passage {
    user: String,
    /// Of those who went.
    reason: Option<CloseReason>,
}

#[async_trait]
impl LifecycleHook for Life {
    async fn connected(&self, cx: &Context) {
        self.note(cx.connection(), None);
    }

    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        self.note(cx.connection(), Some(reason.clone()));
    }
}

impl Life {
    fn note(&self, connection: &ConnectionInfo, reason: Option<CloseReason>) {
        let user = connection.identity.user_name().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(Passage { user, reason });
    }

    /// How often a connection of this user came.
    pub(crate) fn came(&self, user: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|passage| passage.user == user && passage.reason.is_none()).count()
    }

    /// Why this user's connections went.
    pub(crate) fn gone(&self, user: &str) -> Vec<CloseReason> {
        let passages = self.0.lock().unwrap();
        passages.iter().filter(|passage| passage.user == user).filter_map(|passage| passage.reason.clone()).collect()
    }
}

/// What a server is started with.
pub(crate) struct Setup {
    pub(crate) sse: SseConfig,
    pub(crate) runtime: Runtime,
    pub(crate) wire: WireConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sse: SseConfig::default(),
            runtime: Runtime::in_memory().with_authenticator(ByQuery),
            wire: WireConfig::default(),
        }
    }
}

impl From<SseConfig> for Setup {
    fn from(sse: SseConfig) -> Self {
        Self { sse, ..Self::default() }
    }
}

impl Setup {
    pub(crate) async fn start(self) -> Server {
        self.start_with(|sse| sse.router()).await
    }

    pub(crate) async fn start_with(self, router: impl FnOnce(Arc<SseProvider>) -> axum::Router) -> Server {
        let sse = Arc::new(SseProvider::new(self.sse));
        let router = router(Arc::clone(&sse));
        let life = Life::default();
        sse.attach(self.runtime.with_hook(life.clone())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(serve(listener, router).with_config(self.wire).into_future());
        Server { address, sse, life, running }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) sse: Arc<SseProvider>,
    pub(crate) life: Life,
    running: JoinHandle<std::io::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.address)
    }

    /// A request that may be adjusted before it is sent.
    pub(crate) fn get(&self, path_and_query: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().get(self.url(path_and_query))
    }

    /// Opens a stream that must be let in, past its `connected`.
    pub(crate) async fn open(&self, query: &str) -> Reader {
        let mut reader = Reader::of(self.get(&format!("/sse?{query}"))).await;
        assert_eq!(reader.status, StatusCode::OK);
        reader.connected().await;
        reader
    }

    /// [`open_raw`] here.
    pub(crate) async fn open_raw(&self, query: &str) -> TcpStream {
        open_raw(self.address, query).await
    }

    pub(crate) async fn send(&self, target: Target, name: &str, value: impl Serialize) -> Receipt {
        self.sse.broadcast().send(target, Event::json(name, &value).unwrap()).await.unwrap()
    }

    pub(crate) async fn connections(&self, count: u64) {
        until("the number of connections", || self.sse.stats().connections == count).await;
    }
}

/// Opens a stream over HTTP/1.0, whose bytes are not in chunks, with a small receive buffer, and reads nothing.
pub(crate) async fn open_raw(address: SocketAddr, query: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut client = soon("a connection", socket.connect(address)).await.unwrap();
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
        assert!(!text.contains('\r'), "only LF ends lines here: {text:?}");
        let mut block = Self::default();
        for line in text.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => block.event = Some(value.to_owned()),
                ("id", value) => block.id = Some(value.to_owned()),
                ("retry", value) => block.retry = Some(value.to_owned()),
                ("data", value) => {
                    block.data = Some(block.data.map_or(value.to_owned(), |data| format!("{data}\n{value}")));
                }
                _ => panic!("unexpected line {line:?}"),
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

/// Reads a response block by block.
pub(crate) struct Reader {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) version: http::Version,
    bytes: BoxStream<'static, Result<Bytes, String>>,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = soon("a response", request.send()).await.unwrap();
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            version: response.version(),
            bytes: response.bytes_stream().map(|bytes| bytes.map_err(|error| format!("{error:?}"))).boxed(),
            buffer: Vec::new(),
        }
    }

    /// Reads the rest of a stream over HTTP/1.0.
    pub(crate) async fn of_raw(client: TcpStream) -> Self {
        let mut head = Vec::new();
        let mut client = client;
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a response head", client.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
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

    /// The next block or comment; `None` at the proper end of the stream, an error when it was cut.
    pub(crate) async fn try_block(&mut self) -> Result<Option<Block>, String> {
        loop {
            // A comment is a line, and no block of its own.
            if self.buffer.starts_with(b":\n") {
                self.buffer.drain(..2);
                return Ok(Some(Block { comment: true, ..Block::default() }));
            }
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let text = std::mem::replace(&mut self.buffer, rest);
                return Ok(Some(Block::parse(std::str::from_utf8(&text[..end]).unwrap())));
            }
            match soon("a block", self.bytes.next()).await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => {
                    let rest = String::from_utf8(std::mem::take(&mut self.buffer)).unwrap();
                    // A server that goes down says when to come back.
                    let is_retry = rest.starts_with("retry: ") && rest.lines().count() == 1;
                    assert!(rest.is_empty() || is_retry, "the stream ended within a block: {rest:?}");
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn block(&mut self) -> Block {
        self.try_block().await.unwrap().expect("the stream ended")
    }

    /// The next event: comments, `retry:` and bare ids are passed over.
    pub(crate) async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await;
            if block.data.is_some() {
                return block;
            }
        }
    }

    /// The first block, which is the first event.
    pub(crate) async fn connected(&mut self) -> Value {
        let event = self.block().await;
        assert_eq!(event.name(), "connected");
        event.json()
    }

    /// The next event must be this one.
    pub(crate) async fn expect(&mut self, name: &str, value: impl Serialize) -> Block {
        let event = self.event().await;
        assert_eq!((event.name(), event.json()), (name, serde_json::to_value(value).unwrap()));
        event
    }

    /// Nothing but comments and bare ids until the proper end.
    pub(crate) async fn ended(&mut self) {
        while let Some(block) = self.try_block().await.unwrap() {
            assert_eq!(block.data, None, "{block:?}");
        }
    }

    /// Reads to the end, proper or not.
    pub(crate) async fn drain(&mut self) {
        let start = Instant::now();
        while let Ok(Some(_)) = self.try_block().await {
            assert!(start.elapsed() < PATIENCE, "the stream goes on");
        }
    }

    /// The whole body of a refusal.
    pub(crate) async fn error(mut self) -> Value {
        let mut body = Vec::new();
        while let Some(piece) = soon("a body", self.bytes.next()).await {
            body.extend_from_slice(&piece.unwrap());
        }
        serde_json::from_slice::<Value>(&body).unwrap()["error"].take()
    }
}
