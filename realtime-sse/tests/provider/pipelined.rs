//! Clients that send more behind the request of an event stream, which HTTP/1 servers keep for after the response.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::{ByQuery, Server, Setup, until};
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, RealtimeProvider, Target};
use realtime_http::{GuardedListener, HttpProvider, WireConfig, WireInfo};
use realtime_sse::{SseConfig, SseProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server whose streams say nothing by themselves, so that no write finds out who is gone.
async fn quiet() -> Server {
    Setup::from(SseConfig::default().with_heartbeat(None)).start().await
}

/// Sends a request and what is behind it, and reads past `connected`.
async fn open(address: SocketAddr, user: &str, headers: &str, behind: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /sse?user={user} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{behind}");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.windows(15).any(|text| text == b"event: connecte") {
        assert_ne!(crate::support::soon("connected", client.read_buf(&mut read)).await.unwrap(), 0, "the end");
    }
    client
}

const AGAIN: &str = "GET /sse?user=again HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_client_that_sent_more_behind_its_request_is_gone_when_it_goes() {
    let server = quiet().await;
    let large = AGAIN.repeat(1_000);
    let cases = [
        ("nothing", "", ""),
        ("a request", "", AGAIN),
        ("half a request", "", &AGAIN[..20]),
        ("a line end", "", "\r\n"),
        ("many requests", "", &large),
        ("a body", "content-length: 5\r\n", "abcde"),
        ("a body that never comes", "content-length: 5\r\n", "ab"),
    ];
    for (what, headers, behind) in cases {
        for half in [true, false] {
            let mut client = open(server.address, "ann", headers, behind).await;
            server.connections(1).await;
            // Both a FIN and, since there is more to read for it, a reset.
            if half {
                client.shutdown().await.unwrap();
            } else {
                drop(client);
            }
            until(what, || server.sse.stats().connections == 0).await;
        }
    }
    assert_eq!(server.life.came("again"), 0);
}

#[tokio::test]
async fn under_a_server_of_the_applications_own_too() {
    let sse = Arc::new(SseProvider::new(SseConfig::default().with_heartbeat(None)));
    sse.attach(Runtime::in_memory().with_authenticator(ByQuery)).await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let routes = Arc::clone(&sse).router().into_make_service_with_connect_info::<WireInfo>();
    let listener = GuardedListener::new(tcp, WireConfig::default());
    let running = tokio::spawn(axum::serve(listener, routes).into_future());
    let client = open(address, "ann", "", AGAIN).await;
    until("the connection", || sse.stats().connections == 1).await;
    drop(client);
    until("the end", || sse.stats().connections == 0).await;
    running.abort();
}

#[tokio::test]
async fn what_comes_later_hides_the_end_neither() {
    let server = quiet().await;
    let mut client = open(server.address, "ann", "", "").await;
    for _ in 0..3 {
        client.write_all(AGAIN.as_bytes()).await.unwrap();
        server.send(Target::all(), "n", 1).await;
        let mut read = Vec::new();
        while !read.windows(9).any(|text| text == b"data: 1\n\n") {
            assert_ne!(crate::support::soon("the event", client.read_buf(&mut read)).await.unwrap(), 0, "the end");
        }
    }
    drop(client);
    until("the end", || server.life.gone("ann") == [CloseReason::CONNECTION_LOST]).await;
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_cut() {
    let server = quiet().await;
    let mut client = open(server.address, "ann", "", AGAIN).await;
    let flood = async { while client.write_all(&[b'x'; 1024]).await.is_ok() {} };
    crate::support::soon("the cut", flood).await;
    until("the end", || server.life.gone("ann").len() == 1).await;
}
