//! Deadlines, in simulated time and without a network.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use realtime_core::spi::{Dispatcher, Runtime};
use realtime_core::{Event, HandlerError, Identity, Inbound, InboundKind, RealtimeBroadcast, Router, Target};
use serde_json::Value;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::codec::{PING, PROBE, close_frame};
use crate::config::WsConfig;

struct Run {
    dispatcher: Arc<Dispatcher<WsCodec>>,
    session: JoinHandle<()>,
    started_at: Instant,
}

impl Run {
    /// Starts a session whose stream holds `buffer` bytes in each direction; returns the client's
    /// end too.
    async fn start(config: WsConfig, buffer: usize) -> (Self, DuplexStream) {
        Self::start_with(config, Router::new(), buffer).await
    }

    async fn start_with(config: WsConfig, router: Router, buffer: usize) -> (Self, DuplexStream) {
        let settings = Arc::new(Settings::new(&config, &router));
        let dispatcher = Dispatcher::new(config.dispatcher(), WsCodec { traceparent: false }, router);
        dispatcher.attach(Runtime::in_memory()).await.unwrap();
        let (client, server) = tokio::io::duplex(buffer);
        let outlet = Arc::new(SessionOutlet::new());
        let admitted = dispatcher.admit_as(Identity::user("ann"), &[], None, None).unwrap();
        let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
        let session = tokio::spawn(Session::new(server, settings, registration, outlet, None));
        (Self { dispatcher, session, started_at: Instant::now() }, client)
    }

    async fn send(&self, payload: &str) {
        self.dispatcher.to_user("ann", Event::json("e", payload).unwrap()).await.unwrap();
    }

    /// Waits for the end of the session, and returns the time until then.
    async fn finished(&mut self) -> Duration {
        (&mut self.session).await.unwrap();
        self.started_at.elapsed()
    }
}

async fn websocket(stream: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

/// Asserts that a deadline was met to the timer's granularity.
#[track_caller]
fn assert_at(elapsed: Duration, seconds: u64) {
    let expected = Duration::from_secs(seconds);
    assert!(elapsed >= expected && elapsed < expected + Duration::from_millis(50), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_closed_after_ping_and_timeout() {
    let (mut run, mut client) = Run::start(WsConfig::default(), 64 * 1024).await;
    let elapsed = run.finished().await;
    assert_at(elapsed, 50);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(&[&PING[..], &close_frame(&CloseReason::HEARTBEAT)].concat()));
}

#[tokio::test(start_paused = true)]
async fn client_that_answers_pings_stays_connected_for_hours() {
    let (run, client) = Run::start(WsConfig::default(), 64 * 1024).await;
    let mut client = websocket(client).await;
    let mut pings = 0;
    while run.started_at.elapsed() < Duration::from_secs(3 * 3600) {
        pings += usize::from(client.next().await.unwrap().unwrap().is_ping());
    }
    assert_eq!(pings, 360);
    assert!(!run.session.is_finished());
}

/// Tries to connect at the limit, which probes the connections of the user.
fn probe_at_limit(run: &Run) {
    assert!(run.dispatcher.admit_as(Identity::user("ann"), &[], None, None).is_err());
}

fn one_connection_per_user() -> WsConfig {
    WsConfig::default().with_limits(realtime_core::Limits::default().with_connections_per_user(1))
}

#[tokio::test(start_paused = true)]
async fn silent_client_frees_its_slot_when_probed() {
    // One stream accepts the close frame, the other one accepts nothing.
    for buffer in [64 * 1024, 100] {
        let (mut run, mut client) = Run::start(one_connection_per_user().with_heartbeat(None), buffer).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        probe_at_limit(&run);
        tokio::time::sleep(Duration::from_millis(1_990)).await;
        assert_eq!(run.dispatcher.stats().connections, 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((run.dispatcher.stats().connections, run.dispatcher.stats().closed[&4002]), (0, 1));
        let elapsed = run.finished().await;
        if buffer > 100 {
            assert_at(elapsed, 3);
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).await.unwrap();
            assert!(bytes.ends_with(&[&PROBE[..], &close_frame(&CloseReason::HEARTBEAT)].concat()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_sends_anything_when_probed_stays() {
    let (run, client) = Run::start(one_connection_per_user(), 64 * 1024).await;
    let mut client = websocket(client).await;
    for _ in 0..100 {
        probe_at_limit(&run);
        // Answers pings while it is read.
        let _ = tokio::time::timeout(Duration::from_secs(2), async { while client.next().await.is_some() {} }).await;
    }
    assert!(!run.session.is_finished());
    assert_eq!(run.dispatcher.stats().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn new_connections_do_not_postpone_a_probe() {
    let (run, _client) = Run::start(one_connection_per_user().with_heartbeat(None), 64 * 1024).await;
    probe_at_limit(&run);
    tokio::time::sleep(Duration::from_secs(2)).await;
    probe_at_limit(&run);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(run.dispatcher.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn probed_slow_reader_stays_until_it_stops_reading() {
    // Each read of the client makes room for as many bytes.
    let (run, mut client) = Run::start(one_connection_per_user().with_heartbeat(None), 1000).await;
    run.send(&"x".repeat(30_000)).await;
    let mut bytes = vec![0; 1000];
    for n in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(client.read(&mut bytes).await.unwrap() > 0);
        if n % 4 == 3 {
            probe_at_limit(&run);
        }
    }
    assert_eq!(run.dispatcher.stats().connections, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    probe_at_limit(&run);
    tokio::time::sleep(Duration::from_millis(4_010)).await;
    assert_eq!(run.dispatcher.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn client_whose_reading_is_paused_is_not_probed() {
    let config = one_connection_per_user().with_heartbeat(None);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let router = Router::new().on("wait", {
        let gate = Arc::clone(&gate);
        move |_: realtime_core::Context, (): ()| {
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.unwrap().forget() }
        }
    });
    let (run, client) = Run::start_with(config, router, 64 * 1024).await;
    let mut client = websocket(client).await;
    for _ in 0..200 {
        client.feed(Message::text(r#"{"type":"wait","payload":null}"#)).await.unwrap();
    }
    client.flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    probe_at_limit(&run);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(run.dispatcher.stats().connections, 1);
    gate.add_permits(1000);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(run.dispatcher.stats().events_in, 200);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_before_raw_handlers_and_see_the_kind() {
    let router = Router::new()
        .on_text(async |_, text: String| text)
        .on_binary(async |_, bytes: bytes::Bytes| bytes)
        .before(async |_, inbound: Inbound| match inbound.kind() {
            InboundKind::RawBinary => Err(HandlerError::new("no_binary", "text only")),
            kind => {
                assert_eq!((kind, inbound.is_raw(), &*inbound.name), (InboundKind::RawText, true, ""));
                assert_eq!((&inbound.payload.bytes()[..], inbound.ack), (&b"hello"[..], None));
                Ok(())
            }
        });
    let (run, client) = Run::start_with(WsConfig::default(), router, 64 * 1024).await;
    let mut client = websocket(client).await;
    client.send(Message::binary("bytes")).await.unwrap();
    client.send(Message::text("hello")).await.unwrap();
    assert!(client.next().await.unwrap().unwrap().to_text().unwrap().contains("connected"));
    let error = r#"{"type":"error","payload":{"code":"no_binary","message":"text only"}}"#;
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text(error));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    assert_eq!(run.dispatcher.stats().events_in, 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_without_a_heartbeat() {
    let (run, _client) = Run::start(WsConfig::default().with_heartbeat(None), 64 * 1024).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(!run.session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn client_that_reads_nothing_is_closed_after_write_stall() {
    let (mut run, client) = Run::start(WsConfig::default(), 1000).await;
    run.send(&"x".repeat(2000)).await;
    assert_at(run.finished().await, 30);
    assert_eq!(run.dispatcher.stats().stalled, 1);
    assert_eq!(run.dispatcher.stats().connections, 0);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn client_that_reads_slowly_is_not_stalled() {
    // The client needs ten minutes for one event, but reads something every 20 seconds.
    let (run, mut client) = Run::start(WsConfig::default().with_heartbeat(None), 1000).await;
    let payload = "x".repeat(30_000);
    run.send(&payload).await;
    let mut bytes = vec![0; 1000];
    let mut taken = 0;
    while taken < payload.len() {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let read = client.read(&mut bytes).await.unwrap();
        assert!(read > 0, "disconnected after {taken} bytes and {:?}", run.started_at.elapsed());
        taken += read;
    }
    assert!(run.started_at.elapsed() > Duration::from_secs(500));
    assert!(!run.session.is_finished());
    assert_eq!(run.dispatcher.stats().stalled, 0);
}

#[tokio::test(start_paused = true)]
async fn reader_of_100_events_a_second_gets_5000_in_order() {
    // The answers to pings come as late as the client reads the pings, with all defaults.
    let (run, client) = Run::start(WsConfig::default(), 256 * 1024).await;
    let mut client = websocket(client).await;
    // Afterwards the connection is live; otherwise it would read everything from the window.
    assert!(client.next().await.expect("the connection is accepted").is_ok());
    for n in 0..5_000 {
        run.send(&n.to_string()).await;
    }
    let mut expected = 0;
    while expected < 5_000 {
        let Message::Text(text) = client.next().await.expect("the connection stays open").unwrap() else { continue };
        let event: Value = serde_json::from_str(&text).unwrap();
        if event["type"] == "e" {
            assert_eq!(event["payload"], expected.to_string());
            expected += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(run.started_at.elapsed() >= Duration::from_secs(50));
    assert!(run.dispatcher.stats().overflows > 0);
    assert_eq!(run.dispatcher.stats().lost, 0);
}

#[tokio::test(start_paused = true)]
async fn unanswered_close_frame_ends_after_the_close_timeout() {
    let (mut run, client) = Run::start(WsConfig::default(), 64 * 1024).await;
    run.dispatcher.close(Target::all(), CloseReason::KICKED).await.unwrap();
    assert_at(run.finished().await, 5);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn answered_close_frame_ends_the_session_immediately() {
    let (mut run, client) = Run::start(WsConfig::default(), 64 * 1024).await;
    let mut client = websocket(client).await;
    run.dispatcher.close(Target::all(), CloseReason::KICKED).await.unwrap();
    while client.next().await.is_some() {}
    assert_at(run.finished().await, 0);
}

#[tokio::test(start_paused = true)]
async fn kick_reaches_a_session_that_is_blocked_in_a_write() {
    let (mut run, client) = Run::start(WsConfig::default(), 1000).await;
    run.send(&"x".repeat(5000)).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    run.dispatcher.close(Target::all(), CloseReason::KICKED).await.unwrap();
    assert_at(run.finished().await, 15);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn input_after_a_protocol_error_is_drained_until_the_timeout() {
    use tokio::io::AsyncWriteExt;

    let (mut run, client) = Run::start(WsConfig::default(), 1000).await;
    let (mut reader, mut writer) = tokio::io::split(client);
    let flood = tokio::spawn(async move {
        let nonsense = [0xff; 1000];
        while writer.write_all(&nonsense).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.ends_with(&close_frame(&CloseReason::PROTOCOL_ERROR)));
    assert_at(run.finished().await, 5);
    flood.await.unwrap();
}

/// The memory of 100,000 idle connections is this size times 100,000.
#[test]
fn session_is_small() {
    let size = std::mem::size_of::<Session<tokio::net::TcpStream>>();
    assert!(size <= 512, "{size} bytes");
}
