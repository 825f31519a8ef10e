//! `serve()` and clients with unused connections: idle, with a half-sent request, or with closed
//! HTTP/2 windows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{
    Requests, STALL, config, connect, drain, get_http2, head, http2_client, in_time, response, server,
};
use axum::{Router, body::Bytes, extract::Request, routing::post};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use realtime_http::{WireConfig, serve};
use realtime_testkit::TestServer;
use tokio::{io::AsyncWriteExt as _, sync::Semaphore, time::timeout};

/// A limit short enough for a test, and long enough for a client that stays below it.
const LIMIT: Duration = Duration::from_millis(400);

fn limited() -> WireConfig {
    config().with_http2_idle_timeout(LIMIT).with_body_read_timeout(LIMIT)
}

/// Serves a route that reads a body, one that waits at a gate first, and one that never reads it.
async fn uploads(gate: Arc<Semaphore>) -> TestServer {
    uploads_with(gate, limited()).await
}

async fn uploads_with(gate: Arc<Semaphore>, config: WireConfig) -> TestServer {
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
    TestServer::run(|listener| serve(listener, router).with_config(config)).await
}

#[tokio::test]
async fn http2_connection_without_requests_is_closed() {
    let server = server(limited(), |serve| serve).await;
    let start = Instant::now();
    let (_unused, unused) = http2_client(connect(server.address).await, 1000).await;
    let (mut requests, used) = http2_client(connect(server.address).await, 1000).await;
    get_http2(&mut requests, "/hello").await.collect().await.unwrap();

    // An orderly close, which is no error for clients.
    in_time("a close", unused).await.unwrap().unwrap();
    in_time("a close", used).await.unwrap().unwrap();
    assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn idle_http2_client_that_stays_is_reset() {
    let server = server(limited(), |serve| serve).await;
    let mut client = connect(server.address).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let start = Instant::now();

    drain(&mut client).await;

    assert!(start.elapsed() >= 2 * LIMIT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn http2_connection_with_an_open_response_is_not_idle() {
    let server = server(limited(), |serve| serve).await;
    let (mut requests, mut connection) = http2_client(connect(server.address).await, 1000).await;
    let mut open = get_http2(&mut requests, "/silence").await;
    assert!(open.frame().await.unwrap().is_ok());

    assert!(timeout(4 * LIMIT, &mut connection).await.is_err(), "expected an open connection");
    let start = Instant::now();
    drop(open);

    in_time("a close", connection).await.unwrap().unwrap();
    assert!(start.elapsed() >= LIMIT, "{:?}", start.elapsed());
}

/// Neither the connection, nor its request with a half-sent body, is closed while the handler works
/// and does not read.
#[tokio::test]
async fn connection_of_a_working_handler_is_not_idle() {
    let gate = Arc::new(Semaphore::new(0));
    let server = uploads(Arc::clone(&gate)).await;
    let (mut requests, _connection) = http2_client(connect(server.address()).await, 1000).await;
    let over_2 = tokio::spawn(async move { post_half(&mut requests, "/gate").await });
    let mut over_1 = connect(server.address()).await;
    over_1.write_all(b"POST /gate HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    assert!(timeout(4 * LIMIT, head(&mut over_1)).await.is_err(), "expected no response yet");
    assert!(!over_2.is_finished());

    gate.add_permits(2);

    assert_eq!(in_time("a response", over_2).await.unwrap(), 200);
    let (head, body) = response(&mut over_1).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "at last");
}

/// Sends a request with only the beginning of its body, and returns the status.
async fn post_half(requests: &mut Requests, path: &str) -> u16 {
    let beginning = stream::once(async { Ok(Frame::data(Bytes::from_static(b"abc"))) });
    let body = StreamBody::new(futures_util::StreamExt::chain(beginning, stream::pending())).boxed();
    let request = hyper::Request::post(format!("http://test{path}")).body(body).unwrap();
    in_time("a response", requests.send_request(request)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn half_sent_body_is_answered_with_408() {
    let server = uploads(Arc::new(Semaphore::new(0))).await;
    let start = Instant::now();
    for length in ["content-length: 10\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let mut client = connect(server.address()).await;
        client.write_all(format!("POST /read HTTP/1.1\r\nhost: test\r\n{length}").as_bytes()).await.unwrap();
        let (head, body) = response(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("connection: close"), "{head}");
        assert!(body.contains("body_timeout"), "{body}");
        drain(&mut client).await;
    }
    assert!(start.elapsed() >= 2 * LIMIT, "{:?}", start.elapsed());

    let (mut requests, connection) = http2_client(connect(server.address()).await, 1000).await;
    assert_eq!(post_half(&mut requests, "/read").await, 408);
    in_time("a close", connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn unread_body_is_closed_with_its_response() {
    let server = uploads(Arc::new(Semaphore::new(0))).await;
    let mut client = connect(server.address()).await;
    client.write_all(b"POST /ignore HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    assert_eq!(response(&mut client).await.1, "whatever");
    drain(&mut client).await;
    let (mut requests, connection) = http2_client(connect(server.address()).await, 1000).await;
    assert_eq!(post_half(&mut requests, "/ignore").await, 200);
    in_time("a close", connection).await.unwrap().unwrap();
}

/// Bytes that come in time one after the other, and are too slow on the whole.
#[tokio::test]
async fn dripping_body_is_answered_with_408() {
    let server = uploads(Arc::new(Semaphore::new(0))).await;
    let mut client = connect(server.address()).await;
    client.write_all(b"POST /read HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\n").await.unwrap();
    let (mut reader, mut writer) = client.into_split();
    let start = Instant::now();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(LIMIT / 20).await;
        }
        std::future::pending::<()>().await
    };
    let (head, _) = tokio::select! {
        response = response(&mut reader) => response,
        () = dripping => unreachable!("it never ends"),
    };
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(start.elapsed() >= LIMIT && start.elapsed() < 4 * LIMIT, "{:?}", start.elapsed());
}

/// The limit is for the time between two bytes, and the rate for the whole body.
#[tokio::test]
async fn slowly_sent_body_is_read() {
    let server = uploads_with(Arc::new(Semaphore::new(0)), limited().with_body_min_rate(1)).await;
    let mut client = connect(server.address()).await;
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
async fn http2_connection_with_only_closed_windows_is_reset() {
    let mut server = server(config(), |serve| serve).await;
    let (mut requests, connection) = http2_client(connect(server.address).await, 1000).await;
    let _stuck = get_http2(&mut requests, "/flood").await;
    // A stream without events waits for nothing, so that it makes no progress either.
    let _quiet = get_http2(&mut requests, "/silence").await;

    let age = server.body_dropped().await;

    assert!(age >= STALL, "{age:?}");
    server.body_dropped().await;
    assert_eq!(server.guard.stalls(), 1);
    let _ = in_time("a close", connection).await.unwrap();
}

#[tokio::test]
async fn http2_stream_with_a_closed_window_stays_next_to_a_read_one() {
    let mut server = server(config(), |serve| serve).await;
    let (mut requests, connection) = http2_client(connect(server.address).await, 1000).await;
    let stuck = get_http2(&mut requests, "/flood").await;
    let mut reading = get_http2(&mut requests, "/flood").await;
    let start = Instant::now();
    while start.elapsed() < 3 * STALL {
        in_time("a frame", reading.frame()).await.unwrap().unwrap();
        tokio::time::sleep(STALL / 100).await;
    }
    assert_eq!(server.guard.stalls(), 0);
    assert!(server.reports.try_recv().is_err(), "expected no drop of a body");
    drop(reading);
    server.body_dropped().await;
    server.body_dropped().await;
    assert_eq!(server.guard.stalls(), 1);
    let _ = in_time("a close", connection).await.unwrap();
    drop(stuck);
}
