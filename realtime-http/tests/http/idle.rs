//! `serve()` and clients that keep a connection without a use for it: idle, half sent, with shut windows.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{PATIENCE, STALL, ask, config, connect, drain, head, response, server, soon};
use axum::{Router, body::Bytes, extract::Request, routing::post};
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use realtime_http::{WireConfig, serve};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};

/// A limit short enough for a test, and long enough for what stays below it.
const LIMIT: Duration = Duration::from_millis(400);

fn limited() -> WireConfig {
    config().with_http2_idle_timeout(LIMIT).with_body_read_timeout(LIMIT)
}

type Requests = http2::SendRequest<BoxBody<Bytes, std::convert::Infallible>>;

/// A connection that grants each stream this many bytes, and its end.
async fn http2_client(address: SocketAddr, window: u32) -> (Requests, JoinHandle<hyper::Result<()>>) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(tcp))
        .await
        .unwrap();
    (requests, tokio::spawn(connection))
}

async fn get(requests: &mut Requests, path: &str) -> hyper::body::Incoming {
    let request = hyper::Request::get(format!("http://test{path}")).body(Empty::new().boxed()).unwrap();
    let response = soon("a response", requests.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// Routes that read a body, one that waits at a gate first, and one that never reads it.
async fn uploads(gate: Arc<Semaphore>) -> SocketAddr {
    let router = Router::new()
        .route("/read", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/gate",
            post(async move |_: Request| {
                gate.acquire().await.unwrap().forget();
                "at last"
            }),
        )
        .route("/ignore", post(async |_: Request| "whatever"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router).with_config(limited()).into_future());
    address
}

#[tokio::test]
async fn an_http2_connection_without_requests_is_closed() {
    let server = server(limited(), |serve| serve).await;
    let start = Instant::now();
    let (_unused, unused) = http2_client(server.address, 1000).await;
    let (mut requests, used) = http2_client(server.address, 1000).await;
    get(&mut requests, "/hello").await.collect().await.unwrap();

    // A polite end, which clients take for one.
    soon("the end", unused).await.unwrap().unwrap();
    soon("the end", used).await.unwrap().unwrap();
    assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_http2_client_that_does_not_go_is_cut() {
    let server = server(limited(), |serve| serve).await;
    let mut client = connect(server.address).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let start = Instant::now();

    drain(&mut client).await;

    assert!(start.elapsed() >= 2 * LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_http2_connection_with_an_open_response_is_not_idle() {
    let server = server(limited(), |serve| serve).await;
    let (mut requests, mut connection) = http2_client(server.address, 1000).await;
    let mut open = get(&mut requests, "/silence").await;
    assert!(open.frame().await.unwrap().is_ok());

    assert!(timeout(4 * LIMIT, &mut connection).await.is_err(), "it was closed");
    let start = Instant::now();
    drop(open);

    soon("the end", connection).await.unwrap().unwrap();
    assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
}

/// Neither the connection, nor its request whose body is half sent, ends while the handler works and does not read.
#[tokio::test]
async fn a_handler_at_work_is_not_idle() {
    let gate = Arc::new(Semaphore::new(0));
    let address = uploads(Arc::clone(&gate)).await;
    let (mut requests, _connection) = http2_client(address, 1000).await;
    let over_2 = tokio::spawn(async move { half(&mut requests, "/gate").await });
    let mut over_1 = connect(address).await;
    over_1.write_all(b"POST /gate HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    assert!(timeout(4 * LIMIT, head(&mut over_1)).await.is_err(), "it was answered");
    assert!(!over_2.is_finished());

    gate.add_permits(2);

    assert_eq!(soon("a response", over_2).await.unwrap(), 200);
    let (head, body) = response(&mut over_1).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "at last");
}

/// Asks with a body of which only the beginning comes; the status.
async fn half(requests: &mut Requests, path: &str) -> u16 {
    let begun = stream::once(async { Ok(Frame::data(Bytes::from_static(b"abc"))) });
    let body = StreamBody::new(futures_util::StreamExt::chain(begun, stream::pending())).boxed();
    let request = hyper::Request::post(format!("http://test{path}")).body(body).unwrap();
    soon("a response", requests.send_request(request)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_body_that_stays_half_sent_is_given_up() {
    let address = uploads(Arc::new(Semaphore::new(0))).await;
    let start = Instant::now();
    for length in ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = connect(address).await;
        client.write_all(format!("POST /read HTTP/1.1\r\nhost: test\r\n{length}").as_bytes()).await.unwrap();
        let (head, body) = response(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("connection: close"), "{head}");
        assert!(body.contains("body_timeout"), "{body}");
        drain(&mut client).await;
    }
    assert!(start.elapsed() >= 2 * LIMIT, "{:?}", start.elapsed());

    let (mut requests, connection) = http2_client(address, 1000).await;
    assert_eq!(half(&mut requests, "/read").await, 408);
    soon("the end", connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_nobody_reads_ends_with_its_response() {
    let address = uploads(Arc::new(Semaphore::new(0))).await;
    let mut client = connect(address).await;
    client.write_all(b"POST /ignore HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    assert_eq!(response(&mut client).await.1, "whatever");
    drain(&mut client).await;
    let (mut requests, connection) = http2_client(address, 1000).await;
    assert_eq!(half(&mut requests, "/ignore").await, 200);
    soon("the end", connection).await.unwrap().unwrap();
}

/// The bound is between two bytes, not for all.
#[tokio::test]
async fn a_body_that_comes_slowly_is_read() {
    let address = uploads(Arc::new(Semaphore::new(0))).await;
    let mut client = connect(address).await;
    client.write_all(b"POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 16\r\n\r\n").await.unwrap();
    let start = Instant::now();
    while start.elapsed() < 2 * LIMIT {
        client.write_all(b"x").await.unwrap();
        tokio::time::sleep(LIMIT / 7).await;
    }
    client.write_all(&[b'x'; 16]).await.unwrap();
    let (head, body) = response(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "16");
}

#[tokio::test]
async fn an_http1_connection_between_two_requests_is_closed() {
    let server = server(limited().with_header_read_timeout(LIMIT), |serve| serve).await;
    let mut client = connect(server.address).await;
    ask(&mut client, "/hello").await;
    response(&mut client).await;
    let start = Instant::now();
    drain(&mut client).await;
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_http2_connection_of_shut_windows_is_cut() {
    let mut server = server(config(), |serve| serve).await;
    let (mut requests, connection) = http2_client(server.address, 1000).await;
    let _stuck = get(&mut requests, "/flood").await;
    // It has nothing to say, so that it takes nothing either.
    let _quiet = get(&mut requests, "/silence").await;

    let life = server.body_dropped().await;

    assert!(life >= STALL, "{life:?}");
    server.body_dropped().await;
    assert_eq!(server.guard.stalls(), 1);
    let _ = soon("the end", connection).await.unwrap();
}

#[tokio::test]
async fn an_http2_stream_with_a_shut_window_stays_beside_one_that_takes() {
    let mut server = server(config(), |serve| serve).await;
    let (mut requests, connection) = http2_client(server.address, 1000).await;
    let stuck = get(&mut requests, "/flood").await;
    let mut taking = get(&mut requests, "/flood").await;
    let start = Instant::now();
    while start.elapsed() < 3 * STALL {
        soon("a frame", taking.frame()).await.unwrap().unwrap();
        tokio::time::sleep(STALL / 100).await;
    }
    assert_eq!(server.guard.stalls(), 0);
    assert!(server.told.try_recv().is_err(), "a body was dropped");
    drop(taking);
    server.body_dropped().await;
    server.body_dropped().await;
    assert_eq!(server.guard.stalls(), 1);
    let _ = soon("the end", connection).await.unwrap();
    drop(stuck);
}
