//! The shutdown of `serve()`.

use std::time::Duration;

use crate::support::{ask, config, connect, drain, get_http2, head, http2_client, in_time, response, server, upgraded};
use futures_util::FutureExt;
use http_body_util::BodyExt as _;
use realtime_testkit::TestServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn idle_and_half_sent_requests_do_not_delay_shutdown() {
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = server(config().with_header_read_timeout(HOUR), |serve| {
        serve.with_deadline(HOUR).with_graceful_shutdown(stopped.map(drop))
    })
    .await;
    let _silent = connect(server.address).await;
    let mut begun = connect(server.address).await;
    begun.write_all(b"GET /hello HTTP/1.1\r\nho").await.unwrap();
    let mut preface = connect(server.address).await;
    preface.write_all(b"PRI * HT").await.unwrap();
    let mut idle = connect(server.address).await;
    ask(&mut idle, "/hello").await;
    response(&mut idle).await;
    let mut again = connect(server.address).await;
    ask(&mut again, "/hello").await;
    response(&mut again).await;
    again.write_all(b"GET /hello HTTP/1.1\r\nho").await.unwrap();
    let (mut upgraded, _, mut other_end) = upgraded(&mut server).await;

    stop.send(()).unwrap();

    server.running.finished().await.unwrap();
    for client in [&mut begun, &mut preface, &mut idle, &mut again] {
        drain(client).await;
    }
    assert!(TcpStream::connect(server.address).await.is_err(), "expected no listener");
    // Upgraded connections belong to the handlers that upgraded them.
    other_end.write_all(b"x").await.unwrap();
    assert_eq!(in_time("a byte", upgraded.read_u8()).await.unwrap(), b'x');
}

#[tokio::test]
async fn open_responses_finish_before_shutdown() {
    let (stop, stopped) = oneshot::channel::<()>();
    let (begin, mut begun) = tokio::sync::mpsc::channel::<()>(1);
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let opened = std::sync::Arc::clone(&gate);
    let router = axum::Router::new().route(
        "/slow",
        axum::routing::get(async move || {
            begin.send(()).await.unwrap();
            opened.notified().await;
            "done"
        }),
    );
    let mut server = TestServer::run(|listener| {
        realtime_http::serve(listener, router).with_deadline(HOUR).with_graceful_shutdown(stopped.map(drop))
    })
    .await;
    let address = server.address();
    let mut client = connect(address).await;
    ask(&mut client, "/slow").await;
    in_time("the request", begun.recv()).await;

    stop.send(()).unwrap();
    in_time("a closed listener", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!server.is_finished());
    gate.notify_one();

    let (head, body) = response(&mut client).await;
    assert_eq!(body, "done");
    assert!(head.contains("connection: close"), "{head}");
    server.finished().await.unwrap();
}

#[tokio::test]
async fn deadline_resets_open_responses() {
    let (stop, stopped) = oneshot::channel::<()>();
    let deadline = Duration::from_millis(300);
    let mut server =
        server(config(), |serve| serve.with_deadline(deadline).with_graceful_shutdown(stopped.map(drop))).await;
    let mut http1 = connect(server.address).await;
    ask(&mut http1, "/silence").await;
    head(&mut http1).await;
    let http2 = connect(server.address).await;
    let (mut requests, connection) = http2_client(http2, 1000).await;
    let mut open = get_http2(&mut requests, "/silence").await;
    assert!(open.frame().await.unwrap().is_ok());
    let start = std::time::Instant::now();

    stop.send(()).unwrap();

    server.running.finished().await.unwrap();
    assert!(start.elapsed() >= deadline, "{:?}", start.elapsed());
    drain(&mut http1).await;
    let frame = in_time("the end of the stream", open.frame()).await;
    assert!(!matches!(frame, Some(Ok(_))), "{frame:?}");
    let _ = in_time("the end of the connection", connection).await;
    for _ in 0..2 {
        server.body_dropped().await;
    }
    assert_eq!(server.guard.stalls(), 0);
}

#[tokio::test]
async fn dropped_server_resets_its_connections() {
    let mut server = server(config(), |serve| serve).await;
    let mut client = connect(server.address).await;
    ask(&mut client, "/silence").await;
    head(&mut client).await;

    server.running.abort();

    server.body_dropped().await;
    drain(&mut client).await;
}

#[cfg(unix)]
#[tokio::test]
async fn shutdown_signal_resolves_on_sigterm() {
    let mut signal = std::pin::pin!(realtime_http::shutdown_signal());
    // Polled once, so that the signal has a handler and does not end this process.
    assert!(signal.as_mut().now_or_never().is_none());
    let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
    assert!(killed.unwrap().success());
    in_time("SIGTERM", signal).await;
}
