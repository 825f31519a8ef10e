//! A server with the provider on a free port, and clients for it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use realtime_core::spi::Runtime;
use realtime_core::{
    Authenticator, CloseReason, ConnectRequest, ConnectionInfo, Context, Event, Identity, LifecycleHook,
    RealtimeProvider, Refusal, RoomAccess, RoomPolicy, Stats, Target,
};
use realtime_http::{HttpProvider, WireConfig, serve};
use realtime_ws::WsProvider;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("not within {DEADLINE:?}, at {caller}"),
        }
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

pub struct Server {
    pub provider: Arc<WsProvider>,
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(provider: WsProvider) -> Self {
        Self::start_with(provider, WireConfig::default(), |router| router).await
    }

    pub async fn start_with(
        provider: WsProvider,
        wire: WireConfig,
        routes: impl FnOnce(axum::Router<Arc<WsProvider>>) -> axum::Router<Arc<WsProvider>>,
    ) -> Self {
        let seen = Arc::new(Seen::default());
        let runtime =
            Runtime::in_memory().with_authenticator(ByQuery).with_policy(NoSecrets).with_hook(Hook(Arc::clone(&seen)));
        let provider = Arc::new(provider);
        provider.attach(runtime).await.unwrap();
        let router = Arc::clone(&provider).router();
        let router = router.merge(routes(axum::Router::new()).with_state(Arc::clone(&provider)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { serve(listener, router).with_config(wire).await.unwrap() });
        Self { provider, addr, seen, task }
    }

    pub async fn client(&self, user: &str) -> Client {
        self.client_at(&format!("/ws?user={user}")).await
    }

    pub async fn client_at(&self, path: &str) -> Client {
        let mut client = self.unwelcomed_at(path).await;
        client.welcome = client.json().await;
        assert_eq!(client.welcome["type"], "connected");
        client
    }

    pub async fn unwelcomed_at(&self, path: &str) -> Client {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("ws://{}{path}", self.addr).into_client_request().unwrap();
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let handshake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = within(handshake).await.unwrap();
        Client { socket, welcome: Value::Null }
    }

    /// A connection of which every byte is the test's own.
    pub async fn raw(&self, user: &str) -> Raw {
        let (raw, head) = self.request(&handshake_of(&format!("/ws?user={user}"))).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Sends a request's text and reads the head of the answer.
    pub async fn request(&self, text: &str) -> (Raw, String) {
        let mut raw = Raw { stream: TcpStream::connect(self.addr).await.unwrap() };
        raw.write(text.as_bytes()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(raw.stream.read_u8()).await.unwrap());
        }
        (raw, String::from_utf8(head).unwrap())
    }

    pub fn stats(&self) -> Stats {
        self.provider.stats()
    }

    pub async fn send(&self, target: Target, event: &str, data: &(impl serde::Serialize + Sync)) {
        self.provider.broadcast().send(target, Event::json(event, data).unwrap()).await.unwrap();
    }

    /// Sends something to a client that behaves, and sees it arrive.
    pub async fn check(&self, healthy: &mut Client) {
        let nonce = uuid();
        self.send(Target::user("healthy"), "check", &nonce).await;
        assert_eq!(healthy.json().await["payload"], nonce);
        healthy.send(&json!({"type": "echo", "payload": nonce, "ack": 1})).await;
        let answer = healthy.json().await;
        assert_eq!((&answer["type"], &answer["ack"]), (&json!("ack"), &json!(1)), "{answer}");
    }
}

/// Makes a client vanish: its host's kernel gets nothing more, and says nothing.
#[cfg(target_os = "linux")]
pub fn vanish(stream: &TcpStream) {
    // A program that drops each packet: BPF_RET | BPF_K with zero.
    let drop_all = socket2::SockFilter::new(6, 0, 0, 0);
    socket2::SockRef::from(stream).attach_filter(&[drop_all]).unwrap();
}

fn uuid() -> String {
    realtime_core::ConnectionId::random().to_string()
}

/// A right handshake.
pub fn handshake_of(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    /// The payload of its first message and all.
    pub welcome: Value,
}

impl Client {
    pub fn id(&self) -> String {
        self.welcome["payload"]["connectionId"].as_str().unwrap().to_owned()
    }

    /// The next message that is no ping or pong.
    pub async fn message(&mut self) -> Message {
        loop {
            match within(self.socket.next()).await.expect("the stream goes on").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// The next message, which is to be an envelope; bare cursors are passed over.
    pub async fn json(&mut self) -> Value {
        loop {
            let envelope = self.envelope().await;
            if envelope["type"] != "cursor" {
                return envelope;
            }
        }
    }

    pub async fn envelope(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    pub async fn send(&mut self, value: &Value) {
        self.text(&value.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.unwrap();
    }

    /// The code of the next error.
    pub async fn error(&mut self) -> (String, Value) {
        let error = self.json().await;
        assert_eq!(error["type"], "error", "{error}");
        (error["payload"]["code"].as_str().unwrap().to_owned(), error["ack"].clone())
    }

    /// Reads on to the close frame and the end of the stream.
    pub async fn closed(&mut self) -> (u16, String) {
        let frame = loop {
            match self.message().await {
                Message::Close(frame) => break frame.expect("a close frame with a code"),
                message => assert!(!message.is_close()),
            }
        };
        within(async { while self.socket.next().await.is_some() {} }).await;
        (frame.code.into(), frame.reason.to_string())
    }
}

pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// One frame from the server: its first byte and its payload.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = within(self.stream.read_u8()).await.unwrap();
        let length = match within(self.stream.read_u8()).await.unwrap() {
            126 => u64::from(within(self.stream.read_u16()).await.unwrap()),
            127 => within(self.stream.read_u64()).await.unwrap(),
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        within(self.stream.read_exact(&mut payload)).await.unwrap();
        (first, payload)
    }

    /// Reads on to the close frame, then to the end of the stream; the code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame().await;
            if first == 0x88 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let rest = within(self.stream.read_to_end(&mut Vec::new())).await.expect("no reset");
                assert_eq!(rest, 0, "something after the close frame");
                return code;
            }
        }
    }
}

/// A frame as a client sends it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What the lifecycle hook was told.
#[derive(Default)]
pub struct Seen {
    pub came: Mutex<Vec<String>>,
    pub went: Mutex<Vec<(String, CloseReason)>>,
}

impl Seen {
    /// Why a user's connection ended, once it has.
    pub async fn end_of(&self, user: &str) -> CloseReason {
        let find = || self.went.lock().unwrap().iter().find(|(name, _)| name == user).map(|(_, reason)| reason.clone());
        eventually(|| find().is_some()).await;
        find().unwrap()
    }
}

struct Hook(Arc<Seen>);

#[async_trait]
impl LifecycleHook for Hook {
    async fn connected(&self, cx: &Context) {
        self.0.came.lock().unwrap().push(user_of(cx.connection()));
    }

    async fn disconnected(&self, cx: &Context, reason: &CloseReason) {
        self.0.went.lock().unwrap().push((user_of(cx.connection()), reason.clone()));
    }
}

fn user_of(connection: &ConnectionInfo) -> String {
    connection.identity.user_name().unwrap_or_default().to_owned()
}

/// `?user=` says who it is.
struct ByQuery;

#[async_trait]
impl Authenticator for ByQuery {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        if request.token().is_some_and(|token| token != "good") {
            return Err(Refusal::unauthorized("this token is not valid"));
        }
        let user = request.query("user").ok_or_else(|| Refusal::unauthorized("who is it?"))?;
        let identity = Identity::user(&*user);
        Ok(match request.query("tenant") {
            Some(tenant) => identity.with_tenant(&*tenant),
            None => identity,
        })
    }
}

/// All rooms but the secret one.
struct NoSecrets;

#[async_trait]
impl RoomPolicy for NoSecrets {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        if room == "secret" { RoomAccess::Deny } else { RoomAccess::Allow }
    }
}
