//! The WebSocket client against a server that plays a script.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "clients")]

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{ClientError, WsClient};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

    /// Accepts a connection whose path and query are these.
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    async fn accept(&self, target: &str) -> Peer {
        let (stream, _) = self.0.accept().await.unwrap();
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().to_string(), target);
            Ok(response)
        };
        Peer(tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap())
    }

    /// Accepts a connection and answers its request with these bytes.
    async fn refuse(&self, answer: &[u8]) -> TcpStream {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        stream
    }
}

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn tell(&mut self, value: Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let message = self.0.next().await.unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn it_comes_back_with_its_place_unless_told_not_to() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        peer.tell(json!({"type": "a", "payload": 1, "id": "one/1"})).await;
        drop(peer);
        let mut peer = server.accept("/ws?user=ann&lastEventId=one%2F1").await;
        peer.tell(json!({"type": "cursor", "id": "two"})).await;
        let going_away = CloseFrame { code: 1001.into(), reason: "later".into() };
        peer.0.close(Some(going_away)).await.unwrap();
        let mut peer = server.accept("/ws?user=ann&lastEventId=two").await;
        peer.tell(json!({"type": "b", "payload": {"x": [2]}})).await;
        assert!(!matches!(peer.0.next().await, Some(Ok(Message::Text(_)))), "the client cuts the wire");
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
async fn it_comes_back_when_the_server_said_and_not_before() {
    const DELAY: Duration = Duration::from_millis(300);
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        peer.tell(json!({"type": "a", "payload": 1, "id": "one"})).await;
        peer.tell(json!({"type": "reconnect", "payload": {"delayMs": 300, "reason": "service restart"}})).await;
        let told = Instant::now();
        peer.0.close(Some(CloseFrame { code: 1012.into(), reason: "service restart".into() })).await.unwrap();
        // The first that comes finds a node that goes down, and is told when to try again.
        let mut stream = server.refuse(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\r\n").await;
        assert!(told.elapsed() >= DELAY, "{:?}", told.elapsed());
        let told = Instant::now();
        let _ = stream.shutdown().await;
        let mut peer = server.accept("/ws?user=ann&lastEventId=one").await;
        assert!(told.elapsed() >= Duration::from_secs(1), "{:?}", told.elapsed());
        peer.tell(json!({"type": "b", "payload": 2})).await;
        peer
    });
    let mut client = WsClient::connect(url).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().event, "a");
    assert_eq!(client.next_event().await.unwrap().payload["reason"], "service restart");
    assert_eq!(client.retry(), DELAY);
    // A wait that is given up does not make the client come earlier.
    let mut client = client.with_deadline(Duration::from_millis(20));
    assert!(matches!(client.next_event().await, Err(ClientError::Deadline { .. })));
    let mut client = client.with_deadline(Duration::from_secs(10));
    assert_eq!(client.next_event().await.unwrap().event, "b");
    assert_eq!(client.retry(), Duration::from_millis(50), "said for one time only");
    serve.await.unwrap();
}

#[tokio::test]
async fn requests_are_answered_and_asks_are_too() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let mut peer = server.accept("/ws?user=ann").await;
        assert_eq!(peer.hear().await, json!({"type": "plain", "payload": [1]}));
        assert_eq!(peer.hear().await, json!({"type": "add", "payload": [1, 2], "ack": 1}));
        peer.tell(json!({"type": "early", "payload": 0})).await;
        peer.tell(json!({"type": "name?", "payload": null, "ack": 77})).await;
        assert_eq!(peer.hear().await, json!({"type": "ack", "ack": 77, "payload": "ann"}));
        peer.tell(json!({"type": "ack", "ack": 1, "payload": 3})).await;
        assert_eq!(peer.hear().await, json!({"type": "add", "payload": "x", "ack": 2}));
        peer.tell(json!({"type": "error", "ack": 2, "payload": {"code": "bad"}})).await;
        peer.tell(json!({"type": "other?", "payload": null, "ack": 78})).await;
        assert_eq!(peer.hear().await, json!({"type": "ack", "ack": 78, "payload": null}));
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
async fn refusals_and_deadlines_are_told_apart() {
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
