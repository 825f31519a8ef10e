//! Clients that send more after the request of an event stream, which HTTP/1 servers keep until the
//! response has ended.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::{Server, Setup, runtime};
use realtime_core::{CloseReason, RealtimeProvider, Target};
use realtime_http::{HttpProvider, WireConfig};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::{TestServer, eventually, in_time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Starts a server without heartbeats, so that no write discovers a closed connection.
async fn quiet() -> Server {
    Setup::from(SseConfig::default().with_heartbeat(None)).start().await
}

/// Sends a request and more bytes after it, and reads past `connected`.
async fn open(address: SocketAddr, user: &str, headers: &str, more: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /sse?user={user} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{more}");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(15).any(|text| text == b"event: connecte") {
        assert_ne!(in_time("connected", client.read_buf(&mut read)).await.unwrap(), 0, "unexpected EOF");
    }
    client
}

/// A second request on the same connection.
const AGAIN: &str = "GET /sse?user=again HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn disconnect_is_noticed_behind_pipelined_bytes() {
    let server = quiet().await;
    let large = AGAIN.repeat(1_000);
    let cases = [
        ("nothing", "", ""),
        ("a request", "", AGAIN),
        ("half a request", "", &AGAIN[..20]),
        ("a line end", "", "\r\n"),
        ("many requests", "", &large),
        ("a body", "content-length: 5\r\n", "abcde"),
        ("a body that is never complete", "content-length: 5\r\n", "ab"),
    ];
    for (what, headers, more) in cases {
        for half in [true, false] {
            let mut client = open(server.address(), "ann", headers, more).await;
            server.connections(1).await;
            // Both a FIN and, since there are unread bytes, a reset.
            if half {
                client.shutdown().await.unwrap();
            } else {
                drop(client);
            }
            eventually(format!("no connection after {what}"), || server.stats().connections == 0).await;
        }
    }
    assert_eq!(server.hooks.connects("again"), 0);
}

#[tokio::test]
async fn disconnect_is_noticed_under_axum_serve_too() {
    let sse = Arc::new(SseProvider::new(SseConfig::default().with_heartbeat(None)));
    sse.attach(runtime()).await.unwrap();
    let server = TestServer::start_on_axum(Arc::clone(&sse).router(), WireConfig::default()).await;
    let client = open(server.address(), "ann", "", AGAIN).await;
    eventually("one connection", || sse.stats().connections == 1).await;
    drop(client);
    eventually("no connection", || sse.stats().connections == 0).await;
}

#[tokio::test]
async fn disconnect_is_noticed_behind_later_bytes() {
    let server = quiet().await;
    let mut client = open(server.address(), "ann", "", "").await;
    for _ in 0..3 {
        client.write_all(AGAIN.as_bytes()).await.unwrap();
        server.send(Target::all(), "n", 1).await;
        let mut read = Vec::new();
        while !read.windows(9).any(|text| text == b"data: 1\n\n") {
            assert_ne!(in_time("an event", client.read_buf(&mut read)).await.unwrap(), 0, "unexpected EOF");
        }
    }
    drop(client);
    assert_eq!(server.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
}

#[tokio::test]
async fn client_that_sends_without_end_is_reset() {
    let server = quiet().await;
    let mut client = open(server.address(), "ann", "", AGAIN).await;
    let flood = async { while client.write_all(&[b'x'; 1024]).await.is_ok() {} };
    in_time("a reset", flood).await;
    server.hooks.close_of("ann").await;
}
