//! Clients that read slowly, or not at all.

use std::time::{Duration, Instant};

use crate::support::http2::{client as http2_client, get as http2_get};
use crate::support::{Reader, Server, Setup, open_raw, runtime};
use http_body_util::BodyExt;
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Drain, Event, MemoryBackplane, OutboxConfig, RealtimeProvider, Target};
use realtime_http::{GuardedListener, HttpProvider, WireConfig, WireInfo};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::{DEADLINE, Served, eventually, in_time};
use tokio::net::TcpStream;

/// A write stall long enough for a healthy client on a busy machine.
const STALL: Duration = Duration::from_millis(1500);

/// Returns a configuration whose connections buffer few bytes.
pub(crate) fn wire() -> WireConfig {
    WireConfig::default().with_unsent_low_water(16 * 1024).with_http1_buffer(8 * 1024)
}

/// Opens a stream of the user `stuck` that reads nothing.
async fn stuck(server: &Server) -> TcpStream {
    let client = server.open_raw("user=stuck").await;
    eventually("the stuck client is connected", || server.hooks.connects("stuck") == 1).await;
    client
}

/// Sends events of this size to all until the connection of `stuck` is closed for its write stall,
/// while another client reads each of them; returns their number.
async fn send_until_stall(server: &Server, healthy: &mut Reader, size: usize) -> usize {
    let text = "x".repeat(size);
    let start = Instant::now();
    let mut sent = 0;
    while server.hooks.closes("stuck").is_empty() {
        server.send(Target::all(), "n", (sent, &text)).await;
        assert_eq!(healthy.event().await.json()[0], sent);
        sent += 1;
        assert!(start.elapsed() < DEADLINE, "expected a close of the stuck client");
    }
    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());
    // The wire's guard and the dispatcher's check give the same reason.
    assert_eq!(server.hooks.closes("stuck"), [CloseReason::WRITE_STALL]);
    sent
}

/// Sends more events than all buffers hold, so that the only connection is behind.
async fn overtake(server: &Served<SseProvider>) {
    let text = "x".repeat(100_000);
    for n in 0..100 {
        server.send(Target::all(), "n", (n, &text)).await;
    }
    eventually("one connection is behind", || server.stats().behind == 1).await;
}

/// Reads a stream over HTTP/2 to the error at its end.
async fn error_of(stream: &mut hyper::body::Incoming) -> hyper::Error {
    loop {
        match in_time("a reset", stream.frame()).await.expect("expected an error, got an orderly end") {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn stalled_reader_is_closed_without_affecting_others() {
    let sse = SseConfig::default().with_write_stall(STALL);
    let wire = wire().with_write_stall(STALL);
    let runtime = runtime().with_backplane(MemoryBackplane::new(100));
    let server = Setup { sse, wire, runtime }.start().await;
    let stuck = stuck(&server).await;
    let mut healthy = server.open("user=healthy").await;

    send_until_stall(&server, &mut healthy, 20_000).await;

    assert_eq!(server.stats().connections, 1);
    server.send(Target::all(), "end", ()).await;
    healthy.expect("end", ()).await;
    // The socket is closed too, not only removed from the provider.
    let mut stuck = Reader::of_raw(stuck).await;
    stuck.drain().await;
}

#[tokio::test]
async fn stalled_http2_stream_is_closed_alone() {
    let sse = SseConfig::default().with_write_stall(STALL).with_outbox(OutboxConfig::default().with_bytes(64 * 1024));
    let runtime = runtime().with_backplane(MemoryBackplane::new(100));
    let server = Setup { sse, runtime, ..Setup::default() }.start().await;
    let mut client = http2_client(server.address(), 20_000).await;
    let mut stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    let mut neighbour = http2_get(&mut client, server.url("/sse?user=neighbour")).await;
    let mut healthy = server.open("user=healthy").await;
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"data: \"the end\"\n\n") {
            let frame = in_time("a frame", neighbour.frame()).await.unwrap().unwrap();
            bytes.extend_from_slice(&frame.into_data().unwrap());
        }
        bytes.windows(9).filter(|window| *window == b"event: n\n").count()
    });

    let sent = send_until_stall(&server, &mut healthy, 5_000).await;

    let stats = server.stats();
    assert_eq!((stats.connections, stats.stalled), (2, 1));
    server.send(Target::all(), "end", "the end").await;
    healthy.expect("end", "the end").await;
    assert_eq!(in_time("the neighbour's end", reading).await.unwrap(), sent);
    // When the client reads again, its stream is reset, which is no orderly end.
    let error = error_of(&mut stuck).await;
    assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    // The slot is free.
    let _again = http2_get(&mut client, server.url("/sse?user=stuck")).await;
}

#[tokio::test]
async fn stalled_http2_connection_is_closed_with_its_streams() {
    let wire = wire().with_write_stall(STALL);
    let server = Setup { wire, ..Setup::default() }.start().await;
    let mut client = http2_client(server.address(), 1000).await;
    let mut stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    let _quiet = http2_get(&mut client, server.url("/sse?user=quiet")).await;
    let start = Instant::now();
    for i in 0..3 {
        server.send(Target::user("stuck"), "n", (i, "x".repeat(5_000))).await;
    }

    // Long before the provider's own limit of 30 s; meanwhile hyper does not poll the body.
    assert_eq!(server.hooks.close_of("stuck").await, CloseReason::WRITE_STALL);

    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());
    server.connections(0).await;
    assert!(!error_of(&mut stuck).await.to_string().is_empty());
    eventually("the connection is closed", || client.is_closed()).await;
}

#[tokio::test]
async fn http2_stream_without_window_can_be_closed() {
    let sse = SseConfig::default().with_write_stall(STALL);
    let server = Setup::from(sse).start().await;
    let mut client = http2_client(server.address(), 1000).await;
    let stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    // The first event uses the window up; the second one is taken and waits for more.
    for taken in 2..=3 {
        server.send(Target::all(), "n", "x".repeat(5_000)).await;
        eventually("the event is taken", || server.stats().events_out == taken).await;
    }
    let start = Instant::now();

    server.provider.close(Target::user("stuck"), CloseReason::KICKED).await.unwrap();

    assert_eq!(server.hooks.close_of("stuck").await, CloseReason::KICKED);
    assert!(start.elapsed() >= STALL, "expected time to read the queue, got {:?}", start.elapsed());
    server.connections(0).await;
    drop(stuck);
}

#[tokio::test]
async fn stall_is_noticed_without_new_events() {
    // The unread events are in the outbox, or still in the window.
    let outboxes = [OutboxConfig::default(), OutboxConfig::default().with_bytes(1000)];
    let stalls = outboxes.map(async |outbox| {
        let server = Setup::from(SseConfig::default().with_write_stall(STALL).with_outbox(outbox)).start().await;
        let mut client = http2_client(server.address(), 1000).await;
        let _stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;

        for i in 0..10 {
            server.send(Target::user("stuck"), "n", (i, "x".repeat(10_000))).await;
        }

        assert_eq!(server.hooks.close_of("stuck").await, CloseReason::WRITE_STALL);
        server.connections(0).await;
    });
    futures_util::future::join_all(stalls).await;
}

/// The provider notices the stall without the wire's guard.
#[tokio::test]
async fn stalled_reader_is_closed_on_a_plain_listener_too() {
    let sse = SseProvider::new(SseConfig::default().with_write_stall(STALL));
    let runtime = runtime().with_backplane(MemoryBackplane::new(100));
    let server = Served::run(sse, runtime, |sse, listener| axum::serve(listener, sse.router())).await;
    let stuck = open_raw(server.address(), "user=stuck").await;
    eventually("the stuck client is connected", || server.hooks.connects("stuck") == 1).await;
    let event = Event::json("n", &"x".repeat(20_000)).unwrap();

    let start = Instant::now();
    while server.hooks.closes("stuck").is_empty() {
        server.provider.broadcast().to_all(event.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(start.elapsed() < DEADLINE, "expected a close of the stuck client");
    }

    assert_eq!(server.hooks.closes("stuck"), [CloseReason::WRITE_STALL]);
    // When the client reads again, its stream has ended abruptly.
    let mut stuck = Reader::of_raw(stuck).await;
    stuck.drain().await;
}

#[tokio::test]
async fn shutdown_runs_the_hooks_of_stalled_readers() {
    let server = Server::start().await;
    let _stuck = stuck(&server).await;
    overtake(&server).await;
    in_time("the end of the shutdown", server.provider.shutdown(Drain::now())).await;
    assert_eq!(server.hooks.closes("stuck"), [CloseReason::RESTART]);
}

#[tokio::test]
async fn shutdown_resets_stalled_readers_under_axum_serve_too() {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let sse = SseProvider::new(SseConfig::default());
    let mut server = Served::run(sse, Runtime::in_memory(), |sse, listener| {
        let service = sse.router().into_make_service_with_connect_info::<WireInfo>();
        let listener = GuardedListener::new(listener, WireConfig::default());
        axum::serve(listener, service).with_graceful_shutdown(async { stopped.await.unwrap() })
    })
    .await;
    let _stuck = open_raw(server.address(), "user=stuck").await;
    server.connections(1).await;
    overtake(&server).await;
    let started = Instant::now();
    server.provider.shutdown(Drain::now()).await;
    stop.send(()).unwrap();
    server.finished().await.unwrap();
    // Earlier than after the 30 s of a write stall.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}
