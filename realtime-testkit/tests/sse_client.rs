//! The client for server-sent events against a scripted server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "clients")]

use std::time::{Duration, Instant};

use realtime_testkit::{ClientError, SseClient, SseItem, read_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

struct Server(TcpListener);

impl Server {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse?user=ann", listener.local_addr().unwrap());
        (Self(listener), url)
    }

    /// Accepts a request, and returns its head in lower case.
    async fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let head = read_head(&mut stream).await.to_lowercase();
        (stream, head)
    }
}

#[tokio::test]
async fn client_reconnects_with_its_last_event_id() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut stream, head) = server.accept().await;
        assert!(head.starts_with("get /sse?user=ann http/1.1") && head.contains("accept: text/event-stream"), "{head}");
        assert!(!head.contains("last-event-id") && head.contains("x-own: 1"), "{head}");
        let blocks = "retry: 20\n\nid: a\nevent: one\ndata: {\"n\":\n\ndata: 1}\n\n: beat\n\nid: b\n\n";
        let blocks = blocks.replace("\n\ndata: 1}", "\ndata: 1}");
        stream.write_all(format!("{HEAD}{blocks}").as_bytes()).await.unwrap();
        drop(stream);
        let (mut stream, head) = server.accept().await;
        assert!(head.contains("last-event-id: b\r\n"), "{head}");
        stream.write_all(format!("{HEAD}id: c\ndata: two\n\n").as_bytes()).await.unwrap();
        // The client drops this connection.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
        let (mut stream, head) = server.accept().await;
        assert!(head.contains("last-event-id: c\r\n"), "{head}");
        stream
            .write_all(format!("{HEAD}event: x\ndata: skipped\n\nevent: three\ndata: 3\n\n").as_bytes())
            .await
            .unwrap();
        stream
    });
    let mut client = SseClient::new(url).with_header("x-own", "1");
    let one = client.next().await.unwrap();
    assert_eq!((one.event.as_str(), one.id.as_str(), one.data.as_str()), ("one", "a", "{\"n\":\n1}"));
    assert_eq!(one.json::<serde_json::Value>()["n"], 1);
    assert_eq!(client.retry(), Duration::from_millis(20));
    let two = client.next().await.unwrap();
    assert_eq!((two.event.as_str(), two.id.as_str(), two.data.as_str()), ("message", "c", "two"));
    assert_eq!(client.response_headers().unwrap()["content-type"], "text/event-stream");
    client.cut();
    assert_eq!(client.next_of("three").await.unwrap().data, "3");
    assert_eq!(client.last_event_id(), "c");
    serve.await.unwrap();
}

#[tokio::test]
async fn client_reconnects_after_the_servers_retry() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await;
        stream.write_all(format!("{HEAD}id: a\ndata: one\n\nretry: 300\n\n").as_bytes()).await.unwrap();
        let announced = Instant::now();
        drop(stream);
        // The response of a node that shuts down: no event, another time, EOF.
        let (mut stream, _) = server.accept().await;
        assert!(announced.elapsed() >= Duration::from_millis(300), "{:?}", announced.elapsed());
        stream.write_all(format!("{HEAD}retry: 200\n\n").as_bytes()).await.unwrap();
        let announced = Instant::now();
        drop(stream);
        let (mut stream, head) = server.accept().await;
        assert!(announced.elapsed() >= Duration::from_millis(200), "{:?}", announced.elapsed());
        assert!(head.contains("last-event-id: a\r\n"), "{head}");
        stream.write_all(format!("{HEAD}data: two\n\n").as_bytes()).await.unwrap();
        stream
    });
    let mut client = SseClient::new(url);
    assert_eq!(client.next().await.unwrap().data, "one");
    // A wait that is cancelled does not make the client reconnect earlier.
    let mut client = client.with_deadline(Duration::from_millis(20));
    while client.next().await.is_ok() {}
    let mut client = client.with_deadline(Duration::from_secs(10));
    assert_eq!(client.next().await.unwrap().data, "two");
    serve.await.unwrap();
}

#[tokio::test]
async fn refusal_deadline_and_close_are_different_errors() {
    let (server, url) = Server::start().await;
    let serve = tokio::spawn(async move {
        let (mut stream, _) = server.accept().await;
        let refusal = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmany";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let (mut stream, _) = server.accept().await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let (mut stream, head) = server.accept().await;
        assert!(head.contains("last-event-id: from here\r\n"), "{head}");
        stream.write_all(format!("{HEAD}: a comment\n").as_bytes()).await.unwrap();
        let (mut ending, _) = server.accept().await;
        ending.write_all(HEAD.as_bytes()).await.unwrap();
        drop(ending);
        (stream, server)
    });
    let refused = SseClient::connect(url.as_str()).await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { status: 429, body } if body == "many"), "{refused:?}");
    let wrong = SseClient::connect(url.as_str()).await.unwrap_err();
    assert!(matches!(wrong, ClientError::Protocol(_)), "{wrong:?}");
    let silent = SseClient::new(url.as_str()).with_last_event_id("from here");
    let mut silent = silent.with_deadline(Duration::from_millis(200));
    assert_eq!(silent.next_item().await.unwrap(), SseItem::Comment(" a comment".to_owned()));
    let late = silent.next().await.unwrap_err();
    assert!(matches!(&late, ClientError::Deadline { last_event_id } if last_event_id == "from here"), "{late:?}");
    let ended = SseClient::new(url.as_str()).without_reconnect().next().await.unwrap_err();
    assert!(matches!(ended, ClientError::Closed { code: None, .. }), "{ended:?}");
    serve.await.unwrap();
}
