//! A server on a free port, and its clients.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part")]

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use realtime_core::spi::Runtime;
use realtime_core::{Context, RoomAccess, RoomPolicy, Target};
use realtime_http::{HttpProvider, WireConfig};
use realtime_testkit::{ByQuery, Served, in_time, read_head};
use realtime_ws::WsProvider;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

/// A provider on a free port, and the clients for it.
pub struct Server(Served<WsProvider>);

impl Deref for Server {
    type Target = Served<WsProvider>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Server {
    pub async fn start(provider: WsProvider) -> Self {
        Self::start_with(provider, WireConfig::default(), |router| router).await
    }

    /// Starts a server with these limits of its connections, and with routes in addition to the
    /// provider's.
    pub async fn start_with(
        provider: WsProvider,
        wire: WireConfig,
        routes: impl FnOnce(axum::Router<Arc<WsProvider>>) -> axum::Router<Arc<WsProvider>>,
    ) -> Self {
        let runtime = Runtime::in_memory().with_authenticator(ByQuery).with_policy(NoSecrets);
        let routes = |provider: Arc<WsProvider>| {
            Arc::clone(&provider).router().merge(routes(axum::Router::new()).with_state(provider))
        };
        Self(Served::start_with(provider, runtime, wire, routes).await)
    }

    /// Connects a client of this user, and reads its welcome.
    pub async fn client(&self, user: &str) -> Client {
        self.client_at(&format!("/ws?user={user}")).await
    }

    /// Connects a client with this path and query, and reads its welcome.
    pub async fn client_at(&self, path: &str) -> Client {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let request = self.websocket_url(path).into_client_request().unwrap();
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let handshake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = in_time("a handshake", handshake).await.unwrap();
        let mut client = Client { socket, welcome: Value::Null };
        client.welcome = client.json().await;
        assert_eq!(client.welcome["type"], "connected");
        client
    }

    /// Connects a client whose bytes are the test's own.
    pub async fn raw(&self, user: &str) -> Raw {
        let (raw, head) = self.request(&handshake_of(&format!("/ws?user={user}"))).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Sends a request and reads the head of the response.
    pub async fn request(&self, text: &str) -> (Raw, String) {
        let mut raw = Raw { stream: TcpStream::connect(self.address()).await.unwrap() };
        raw.write(text.as_bytes()).await;
        let head = read_head(&mut raw.stream).await;
        (raw, head)
    }

    /// Asserts that the client of the user `healthy` receives events and answers.
    pub async fn check(&self, healthy: &mut Client) {
        let nonce = uuid();
        self.send(Target::user("healthy"), "check", &nonce).await;
        assert_eq!(healthy.json().await["payload"], nonce);
        healthy.send(&json!({"type": "echo", "payload": nonce, "ack": 1})).await;
        let answer = healthy.json().await;
        assert_eq!((&answer["type"], &answer["ack"]), (&json!("ack"), &json!(1)), "{answer}");
    }
}

fn uuid() -> String {
    realtime_core::ConnectionId::random().to_string()
}

/// Returns the request of a valid handshake.
pub fn handshake_of(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A client that reads only when a test does.
pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    /// The first message.
    pub welcome: Value,
}

impl Client {
    pub fn id(&self) -> String {
        self.welcome["payload"]["connectionId"].as_str().unwrap().to_owned()
    }

    /// Returns the next message that is no ping or pong.
    pub async fn message(&mut self) -> Message {
        loop {
            match in_time("a message", self.socket.next()).await.expect("expected a message, got EOF").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// Returns the next envelope; bare cursors are skipped.
    pub async fn json(&mut self) -> Value {
        loop {
            let envelope = self.envelope().await;
            if envelope["type"] != "cursor" {
                return envelope;
            }
        }
    }

    /// Returns the next message, which must be an envelope.
    pub async fn envelope(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    pub async fn send(&mut self, value: &Value) {
        self.text(&value.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        in_time("a write", self.socket.send(Message::text(text))).await.unwrap();
    }

    /// Returns the code and the ack number of the next envelope, which must be an error.
    pub async fn error(&mut self) -> (String, Value) {
        let error = self.json().await;
        assert_eq!(error["type"], "error", "{error}");
        (error["payload"]["code"].as_str().unwrap().to_owned(), error["ack"].clone())
    }

    /// Reads to the close frame and EOF, and returns the code and the text.
    pub async fn closed(&mut self) -> (u16, String) {
        let frame = loop {
            match self.message().await {
                Message::Close(frame) => break frame.expect("expected a close frame with a code"),
                message => assert!(!message.is_close()),
            }
        };
        in_time("EOF", async { while self.socket.next().await.is_some() {} }).await;
        (frame.code.into(), frame.reason.to_string())
    }
}

/// A client whose bytes are the test's own.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    pub async fn write(&mut self, bytes: &[u8]) {
        in_time("a write", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Returns the first byte and the payload of the server's next frame.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let frame = async {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                length => u64::from(length),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await?;
            std::io::Result::Ok((first, payload))
        };
        in_time("a frame", frame).await.unwrap()
    }

    /// Reads to the close frame and EOF, and returns the code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame().await;
            if first == 0x88 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let rest = in_time("EOF", self.stream.read_to_end(&mut Vec::new())).await.expect("expected EOF");
                assert_eq!(rest, 0, "expected no byte after the close frame");
                return code;
            }
        }
    }
}

/// Returns a frame as a client sends it.
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

/// Allows every room but `secret`.
struct NoSecrets;

#[async_trait]
impl RoomPolicy for NoSecrets {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        if room == "secret" { RoomAccess::Deny } else { RoomAccess::Allow }
    }
}
