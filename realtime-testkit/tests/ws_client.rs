//! The WebSocket client against a scripted server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "clients")]

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{ClientError, WsClient, read_head};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

struct Server(TcpListener);

impl Server {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws?user=ann", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// Accepts a connection, whose path and query must be these.
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    async fn accept(&self, target: &str) -> Peer {
        let (stream, _) = self.0.accept().await.unwrap();
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().to_string(), target);
            Ok(response)
        };
        Peer(tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap())
    }

    /// Accepts a connection and responds to its request with these bytes.
    async fn refuse(&self, answer: &[u8]) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        stream
    }
}

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn send(&mut self, value: Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let message = self.0.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn client_reconnects_with_its_cursor_unless_kicked() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        peer.send(json!({"type": "a", "payload": 1, "id": "one/1"})).await;
        drop(peer);
        let mut peer = server.accept("/ws?user=ann&lastEventId=one%2F1").await;
        peer.send(json!({"type": "cursor", "id": "two"})).await;
        let going_away = CloseFrame { code: 1001.into(), reason: "later".into() };
        peer.0.close(Some(going_away)).await.unwrap();
        let mut peer = server.accept("/ws?user=ann&lastEventId=two").await;
        peer.send(json!({"type": "b", "payload": {"x": [2]}})).await;
        assert!(!matches!(peer.0.next().await, Some(Ok(Message::Text(_)))), "the client drops the connection");
        let mut peer = server.accept("/ws?user=ann&lastEventId=two").await;
        let kicked = CloseFrame { code: 4000.into(), reason: "enough".into() };
        peer.0.close(Some(kicked)).await.unwrap();
        peer
    });
    let mut client = WsClient::connect(url).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().payload, 1);
    assert_eq!(client.last_event_id(), "one/1");
    assert_eq!(client.next_of("b").await.unwrap().json::<Value>(), json!({"x": [2]}));
    assert_eq!(client.last_event_id(), "two");
    client.cut();
    let closed = client.next_event().await.unwrap_err();
    assert!(matches!(&closed, ClientError::Closed { code: Some(4000), reason } if reason == "enough"), "{closed:?}");
    serve.await.unwrap();
}

#[tokio::test]
async fn client_reconnects_after_the_servers_delay() {
    const DELAY: Duration = Duration::from_millis(300);
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        peer.send(json!({"type": "a", "payload": 1, "id": "one"})).await;
        peer.send(json!({"type": "reconnect", "payload": {"delayMs": 300, "reason": "service restart"}})).await;
        let announced = Instant::now();
        peer.0.close(Some(CloseFrame { code: 1012.into(), reason: "service restart".into() })).await.unwrap();
        // The first reconnect reaches a node that is shutting down, and gets a `Retry-After`.
        let mut stream = server.refuse(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\r\n").await;
        assert!(announced.elapsed() >= DELAY, "{:?}", announced.elapsed());
        let announced = Instant::now();
        let _ = stream.shutdown().await;
        let mut peer = server.accept("/ws?user=ann&lastEventId=one").await;
        assert!(announced.elapsed() >= Duration::from_secs(1), "{:?}", announced.elapsed());
        peer.send(json!({"type": "b", "payload": 2})).await;
        peer
    });
    let mut client = WsClient::connect(url).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().event, "a");
    assert_eq!(client.next_event().await.unwrap().payload["reason"], "service restart");
    assert_eq!(client.retry(), DELAY);
    // A wait that is cancelled does not make the client reconnect earlier.
    let mut client = client.with_deadline(Duration::from_millis(20));
    assert!(matches!(client.next_event().await, Err(ClientError::Deadline { .. })));
    let mut client = client.with_deadline(Duration::from_secs(10));
    assert_eq!(client.next_event().await.unwrap().event, "b");
    assert_eq!(client.retry(), Duration::from_millis(50), "the delay is for one reconnect only");
    serve.await.unwrap();
}

#[tokio::test]
async fn requests_and_asks_are_answered() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        assert_eq!(peer.receive().await, json!({"type": "plain", "payload": [1]}));
        assert_eq!(peer.receive().await, json!({"type": "add", "payload": [1, 2], "ack": 1}));
        peer.send(json!({"type": "early", "payload": 0})).await;
        peer.send(json!({"type": "name?", "payload": null, "ack": 77})).await;
        assert_eq!(peer.receive().await, json!({"type": "ack", "ack": 77, "payload": "ann"}));
        peer.send(json!({"type": "ack", "ack": 1, "payload": 3})).await;
        assert_eq!(peer.receive().await, json!({"type": "add", "payload": "x", "ack": 2}));
        peer.send(json!({"type": "error", "ack": 2, "payload": {"code": "bad"}})).await;
        peer.send(json!({"type": "other?", "payload": null, "ack": 78})).await;
        assert_eq!(peer.receive().await, json!({"type": "ack", "ack": 78, "payload": null}));
        while peer.0.next().await.is_some() {}
    });
    let client = WsClient::connect(url).await.unwrap();
    let mut client = client.answer_asks(|ask| (ask.event == "name?").then(|| json!("ann")));
    client.send("plain", &[1]).await.unwrap();
    assert_eq!(client.request("add", &[1, 2]).await.unwrap(), 3);
    let error = client.request("add", "x").await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol(text) if text.contains("bad")), "{error:?}");
    assert_eq!(client.next_event().await.unwrap().event, "early");
    let ask = client.next_event().await.unwrap();
    client.answer(ask.ack.unwrap(), &Value::Null).await.unwrap();
    client.close().await.unwrap();
    serve.await.unwrap();
}

#[tokio::test]
async fn refusal_and_deadline_are_different_errors() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let refusal = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nmany";
        let stream = server.refuse(refusal).await;
        let silent = server.accept("/ws?user=ann").await;
        (stream, silent)
    });
    let refused = WsClient::connect(url.as_str()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status: 429, .. }), "{refused:?}");
    let mut silent = WsClient::new(url).with_deadline(Duration::from_millis(200));
    let late = silent.next_event().await.unwrap_err();
    assert!(matches!(late, ClientError::Deadline { .. }), "{late:?}");
    serve.await.unwrap();
}
