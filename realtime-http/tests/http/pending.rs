//! Connections that never become a request, and too many connections.

use std::time::Duration;

use crate::support::{
    Requests, Server, ask, config, connect, drain, get_http2, head, http2_client, in_time, response, server,
};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use realtime_http::WireConfig;
use realtime_testkit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);
/// The beginning of an HTTP/2 connection, without a request.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Has no other limit for what is pending than the number.
fn patient() -> WireConfig {
    config().with_header_read_timeout(HOUR).with_http2_idle_timeout(None)
}

async fn hello(server: &Server) -> TcpStream {
    let mut client = connect(server.address).await;
    ask(&mut client, "/hello").await;
    assert_eq!(response(&mut client).await.1, "hello");
    client
}

/// Returns how many connections the server ended for this reason.
fn ended(server: &Server, reason: &str) -> u64 {
    server.guard.stats().ended[reason]
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_away() {
    for sent in [&b""[..], b"GET /hel", b"GET /hello HTTP/1.1\r\nhost: te", HTTP2] {
        let server = server(patient().with_pending(10), |serve| serve).await;
        let mut silent = Vec::new();
        for _ in 0..50 {
            let mut client = connect(server.address).await;
            client.write_all(sent).await.unwrap();
            silent.push(client);
        }
        hello(&server).await;
        // The oldest are closed, the newest may go on.
        for client in &mut silent[..39] {
            drain(client).await;
        }
        // HTTP/2 begins with settings of the server.
        if sent != HTTP2 {
            assert!(silent[49].read_u8().now_or_never().is_none(), "{sent:?}");
        }
        assert!(ended(&server, "pending_limit") >= 40, "{:?}", server.guard.stats());
        assert!(server.guard.stats().pending <= 10);
        drop(silent);
        eventually("no connections", || server.guard.stats().pending == 0).await;
    }
}

#[tokio::test]
async fn connection_with_a_request_is_not_pending() {
    let server = server(patient().with_pending(2), |serve| serve).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(hello(&server).await);
    }
    assert_eq!((server.guard.stats().open, server.guard.stats().pending), (10, 0));
    for client in &mut clients {
        ask(client, "/hello").await;
        assert_eq!(response(client).await.1, "hello");
    }
    assert_eq!(ended(&server, "pending_limit"), 0);
}

#[tokio::test]
async fn limit_of_an_address_that_is_set_holds_for_this_host() {
    let server = server(patient().with_pending_per_address(3), |serve| serve).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect(server.address).await);
    }
    for client in &mut silent[..5] {
        drain(client).await;
    }
    assert_eq!((ended(&server, "pending_limit"), server.guard.stats().pending), (5, 3));
    hello(&server).await;
}

/// An HTTP/2 connection, and its end.
type Http2 = (Requests, JoinHandle<hyper::Result<()>>);

async fn hello_http2(server: &Server) -> Http2 {
    let (mut requests, connection) = http2_client(connect(server.address).await, 1 << 16).await;
    get_http2(&mut requests, "/hello").await.collect().await.unwrap();
    (requests, connection)
}

#[tokio::test]
async fn http2_connection_that_is_idle_for_longest_is_reset() {
    let server = server(patient().with_http2_idle(3), |serve| serve).await;
    // An open response is not idle, and its end takes no other one's place.
    let (mut requests, connection) = hello_http2(&server).await;
    let open = get_http2(&mut requests, "/silence").await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(hello_http2(&server).await);
    }
    for (_, connection) in clients.drain(..5) {
        assert!(in_time("the end", connection).await.unwrap().is_err());
    }
    connection.abort();
    drop((requests, open));
    eventually("the end of the stream", || server.guard.stats().open == 3).await;
    for (requests, _) in &mut clients {
        get_http2(requests, "/hello").await.collect().await.unwrap();
    }
    eventually("three idle connections", || server.guard.stats().idle == 3).await;
    assert_eq!((ended(&server, "idle_limit"), ended(&server, "pending_limit")), (5, 0));
}

#[tokio::test]
async fn idle_limit_of_an_address_that_is_set_holds_for_this_host() {
    let server = server(patient().with_http2_idle_per_address(2), |serve| serve).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(hello_http2(&server).await);
    }
    for (_, connection) in clients.drain(..3) {
        assert!(in_time("the end", connection).await.unwrap().is_err());
    }
    eventually("two idle connections", || server.guard.stats().idle == 2).await;
    assert_eq!(ended(&server, "idle_limit"), 3);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_reset() {
    let mut server = server(config().with_connections(2), |serve| serve).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = connect(server.address).await;
        ask(&mut client, "/silence").await;
        head(&mut client).await;
        open.push(client);
    }
    for _ in 0..3 {
        // The reset may be noticed by the connect already.
        if let Ok(mut client) = TcpStream::connect(server.address).await {
            assert_eq!(drain(&mut client).await, 0);
        }
    }
    assert_eq!((ended(&server, "connection_limit"), server.guard.stats().open), (3, 2));

    drop(open.pop());
    server.body_dropped().await;
    eventually("a free place", || server.guard.stats().open == 1).await;
    hello(&server).await;
}

#[tokio::test]
async fn late_headers_are_counted() {
    let server = server(config().with_header_read_timeout(SHORT), |serve| serve).await;
    let mut late = Vec::new();
    for sent in ["", "GET /hel", "GET /hello HTTP/1.1\r\nhost: te"] {
        let mut client = connect(server.address).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        late.push(client);
    }
    for client in &mut late {
        drain(client).await;
    }
    // An idle connection is none of them.
    drain(&mut hello(&server).await).await;
    let counts = || (ended(&server, "no_request"), ended(&server, "header_timeout"));
    eventually("three counts", || counts() == (1, 2)).await;
    eventually("no connections", || server.guard.stats().open == 0).await;
    assert_eq!(counts(), (1, 2));
}
