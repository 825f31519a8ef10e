//! Clients that read slowly, or not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::http2::{client as http2_client, get as http2_get};
use crate::support::{ByQuery, Life, Reader, Server, Setup, open_raw, soon, until};
use http_body_util::BodyExt;
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Drain, Event, MemoryBackplane, OutboxConfig, RealtimeProvider, Target, WindowConfig};
use realtime_http::{GuardedListener, HttpProvider, WireConfig, WireInfo};
use realtime_sse::{SseConfig, SseProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Long enough for a healthy client on a loaded machine to show that it reads.
const STALL: Duration = Duration::from_millis(1500);

fn wire() -> WireConfig {
    WireConfig::default().with_unsent_low_water(16 * 1024).with_http1_buffer(8 * 1024)
}

#[tokio::test]
async fn a_slow_reader_overflows_and_catches_up_in_order() {
    let outbox = OutboxConfig::default().with_frames(8).with_bytes(16 * 1024);
    let sse = SseConfig::default().with_outbox(outbox);
    let server = Setup { sse, wire: wire(), ..Setup::default() }.start().await;
    let slow = server.open_raw("user=slow").await;
    let mut quick = server.open("user=quick").await;
    until("the slow one", || server.life.came("slow") == 1).await;
    let text = "x".repeat(1000);

    for i in 0..2000 {
        server.send(Target::all(), "n", (i, &text)).await;
    }
    // It has not read a byte yet, and the events are far more than all buffers on the way hold.
    until("an overflow", || server.sse.stats().overflows > 0).await;
    let mut slow = Reader::of_raw(slow).await;
    slow.connected().await;
    for reader in [&mut slow, &mut quick] {
        for i in 0..2000 {
            assert_eq!(reader.event().await.json()[0], i);
        }
    }
    // Live again.
    server.send(Target::user("slow"), "n", (2000, 0)).await;
    assert_eq!(slow.event().await.json()[0], 2000);
    assert_eq!(server.sse.stats().lost, 0);
}

#[tokio::test]
async fn one_that_is_slower_than_the_window_is_told_what_it_lost() {
    let outbox = OutboxConfig::default().with_frames(4);
    let sse = SseConfig::default().with_outbox(outbox).with_window(WindowConfig::default().with_records(50));
    let server = Setup { sse, wire: wire(), ..Setup::default() }.start().await;
    let slow = server.open_raw("user=slow").await;
    until("the slow one", || server.life.came("slow") == 1).await;
    let text = "x".repeat(10_000);
    for i in 0..1000 {
        server.send(Target::all(), "n", (i, &text)).await;
    }

    let mut slow = Reader::of_raw(slow).await;
    slow.connected().await;
    let mut next = 0;
    let mut lost = 0;
    while next < 1000 {
        let event = slow.event().await;
        if event.name() == "lost" {
            lost += 1;
            next =
                event.json()["until"].as_str().unwrap().parse::<realtime_core::spi::Cursor>().unwrap().position().get();
            assert_eq!(event.id(), event.json()["until"]);
        } else {
            assert_eq!(event.json()[0], next);
            next += 1;
        }
    }
    assert_eq!(server.sse.stats().lost, lost);
    assert!(lost > 0);
}

#[tokio::test]
async fn one_that_stops_reading_is_cut_and_the_others_hear_nothing_of_it() {
    let sse = SseConfig::default().with_write_stall(STALL);
    let wire = wire().with_write_stall(STALL);
    let runtime = Runtime::in_memory().with_authenticator(ByQuery).with_backplane(MemoryBackplane::new(100));
    let server = Setup { sse, wire, runtime }.start().await;
    let stuck = server.open_raw("user=stuck").await;
    let mut well = server.open("user=well").await;
    until("the stuck one", || server.life.came("stuck") == 1).await;
    let text = "x".repeat(20_000);
    let start = Instant::now();

    let mut sent = 0;
    while server.life.gone("stuck").is_empty() {
        server.send(Target::all(), "n", (sent, &text)).await;
        assert_eq!(well.event().await.json()[0], sent);
        sent += 1;
        assert!(start.elapsed() < crate::support::PATIENCE, "it is still there");
    }

    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());
    // Whoever notices first, the guard of the wire or the look at the outboxes, the reason is the same.
    assert_eq!(server.life.gone("stuck"), [CloseReason::WRITE_STALL]);
    assert_eq!(server.sse.stats().connections, 1);
    server.send(Target::all(), "end", ()).await;
    well.expect("end", ()).await;
    // The socket is closed too, not only forgotten.
    let mut stuck = Reader::of_raw(stuck).await;
    stuck.drain().await;
}

#[tokio::test]
async fn an_http2_stream_without_window_is_given_up_alone() {
    let sse = SseConfig::default().with_write_stall(STALL).with_outbox(OutboxConfig::default().with_bytes(64 * 1024));
    let runtime = Runtime::in_memory().with_authenticator(ByQuery).with_backplane(MemoryBackplane::new(100));
    let server = Setup { sse, runtime, ..Setup::default() }.start().await;
    let mut client = http2_client(server.address, 20_000).await;
    let mut stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    let mut neighbour = http2_get(&mut client, server.url("/sse?user=neighbour")).await;
    let mut well = server.open("user=well").await;
    let reading = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"data: \"the end\"\n\n") {
            let frame = soon("a frame", neighbour.frame()).await.unwrap().unwrap();
            bytes.extend_from_slice(&frame.into_data().unwrap());
        }
        bytes.windows(9).filter(|window| *window == b"event: n\n").count()
    });
    let text = "x".repeat(5_000);
    let start = Instant::now();

    let mut sent = 0;
    while server.life.gone("stuck").is_empty() {
        server.send(Target::all(), "n", (sent, &text)).await;
        assert_eq!(well.event().await.json()[0], sent);
        sent += 1;
        assert!(start.elapsed() < crate::support::PATIENCE, "it is still there");
    }

    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());
    assert_eq!(server.life.gone("stuck"), [CloseReason::WRITE_STALL]);
    let stats = server.sse.stats();
    assert_eq!((stats.connections, stats.stalled), (2, 1));
    server.send(Target::all(), "end", "the end").await;
    well.expect("end", "the end").await;
    assert_eq!(soon("the neighbour", reading).await.unwrap(), sent);
    // As soon as it reads again it finds its stream reset, which is no proper end.
    let error = loop {
        match soon("the reset", stuck.frame()).await.expect("no proper end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    // Its place can be taken.
    let _again = http2_get(&mut client, server.url("/sse?user=stuck")).await;
}

#[tokio::test]
async fn an_http2_connection_on_which_nobody_reads_is_ended_with_its_streams() {
    let wire = wire().with_write_stall(STALL);
    let server = Setup { wire, ..Setup::default() }.start().await;
    let mut client = http2_client(server.address, 1000).await;
    let mut stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    let _quiet = http2_get(&mut client, server.url("/sse?user=quiet")).await;
    let start = Instant::now();
    for i in 0..3 {
        server.send(Target::user("stuck"), "n", (i, "x".repeat(5_000))).await;
    }

    // Long before the provider's own time of 30 s, and hyper asks the body for nothing all the while.
    until("the hook", || server.life.gone("stuck") == [CloseReason::WRITE_STALL]).await;

    assert!(start.elapsed() >= STALL, "{:?}", start.elapsed());
    server.connections(0).await;
    let error = loop {
        match soon("the end", stuck.frame()).await.expect("no proper end") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(!error.to_string().is_empty());
    until("the end of the connection", || client.is_closed()).await;
}

#[tokio::test]
async fn an_http2_stream_without_window_can_be_closed() {
    let sse = SseConfig::default().with_write_stall(STALL);
    let server = Setup::from(sse).start().await;
    let mut client = http2_client(server.address, 1000).await;
    let stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;
    // The first one uses the window up, the second one has been taken and waits for more.
    for taken in 2..=3 {
        server.send(Target::all(), "n", "x".repeat(5_000)).await;
        until("a take", || server.sse.stats().events_out == taken).await;
    }
    let start = Instant::now();

    server.sse.close(Target::user("stuck"), CloseReason::KICKED).await.unwrap();

    until("the hook", || server.life.gone("stuck") == [CloseReason::KICKED]).await;
    assert!(start.elapsed() >= STALL, "it had its time to read what waits: {:?}", start.elapsed());
    server.connections(0).await;
    drop(stuck);
}

#[tokio::test]
async fn what_waits_need_not_grow_to_be_given_up() {
    // What waits is in the outbox, or still in the window.
    let outboxes = [OutboxConfig::default(), OutboxConfig::default().with_bytes(1000)];
    let given_up = outboxes.map(async |outbox| {
        let server = Setup::from(SseConfig::default().with_write_stall(STALL).with_outbox(outbox)).start().await;
        let mut client = http2_client(server.address, 1000).await;
        let _stuck = http2_get(&mut client, server.url("/sse?user=stuck")).await;

        for i in 0..10 {
            server.send(Target::user("stuck"), "n", (i, "x".repeat(10_000))).await;
        }

        until("the hook", || server.life.gone("stuck") == [CloseReason::WRITE_STALL]).await;
        server.connections(0).await;
    });
    futures_util::future::join_all(given_up).await;
}

/// Without the guard of the wire, the connection is given up all the same.
#[tokio::test]
async fn on_a_plain_listener_one_that_stops_reading_is_given_up() {
    let sse = Arc::new(SseProvider::new(SseConfig::default().with_write_stall(STALL)));
    let life = Life::default();
    let runtime = Runtime::in_memory().with_authenticator(ByQuery).with_backplane(MemoryBackplane::new(100));
    sse.attach(runtime.with_hook(life.clone())).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(axum::serve(listener, Arc::clone(&sse).router()).into_future());
    let stuck = crate::support::open_raw(address, "user=stuck").await;
    until("the stuck one", || life.came("stuck") == 1).await;
    let event = Event::json("n", &"x".repeat(20_000)).unwrap();

    let start = Instant::now();
    while life.gone("stuck").is_empty() {
        sse.broadcast().to_all(event.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(start.elapsed() < crate::support::PATIENCE, "it is still there");
    }

    assert_eq!(life.gone("stuck"), [CloseReason::WRITE_STALL]);
    // When it reads again it finds that its stream was cut off.
    let mut stuck = Reader::of_raw(stuck).await;
    stuck.drain().await;
    running.abort();
}

#[tokio::test]
async fn a_shutdown_runs_the_hooks_of_those_who_do_not_read() {
    let server = Server::start().await;
    let _stuck = server.open_raw("user=stuck").await;
    until("the stuck one", || server.life.came("stuck") == 1).await;
    let text = "x".repeat(100_000);
    for n in 0..100 {
        server.send(Target::all(), "n", (n, &text)).await;
    }
    until("more waits than the wire takes", || server.sse.stats().behind == 1).await;
    soon("the end of the shutdown", server.sse.shutdown(Drain::now())).await;
    assert_eq!(server.life.gone("stuck"), [CloseReason::RESTART]);
}

#[tokio::test]
async fn a_shutdown_cuts_those_who_do_not_read_also_under_a_server_of_the_applications_own() {
    let sse = Arc::new(SseProvider::new(SseConfig::default()));
    sse.attach(Runtime::in_memory()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = Arc::clone(&sse).router().into_make_service_with_connect_info::<WireInfo>();
    let listener = GuardedListener::new(listener, WireConfig::default());
    let serving = axum::serve(listener, service).with_graceful_shutdown(async { stopped.await.unwrap() });
    let serving = tokio::spawn(serving.into_future());
    let _stuck = open_raw(address, "user=stuck").await;
    until("the stuck one", || sse.stats().connections == 1).await;
    let text = "x".repeat(100_000);
    for n in 0..100 {
        sse.broadcast().to_all(Event::json("n", &(n, &text)).unwrap()).await.unwrap();
    }
    until("more waits than the wire takes", || sse.stats().behind == 1).await;
    let started = Instant::now();
    sse.shutdown(Drain::now()).await;
    stop.send(()).unwrap();
    soon("the end of the server", serving).await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "sooner than after the 30 s of a write stall");
}

/// A place of ann's, and what she has missed since: a first event, a large one and a small one behind it.
async fn missed(wire: WireConfig, first: usize, large: usize) -> (Server, String) {
    let server = Setup { wire, ..Setup::default() }.start().await;
    let mut reader = Reader::of(server.get("/sse?user=ann")).await;
    let place = reader.connected().await["cursor"].as_str().unwrap().to_owned();
    drop(reader);
    for (name, size) in [("before", first), ("large", large), ("behind", 1)] {
        server.send(Target::user("ann"), name, "x".repeat(size)).await;
    }
    (server, place)
}

/// The first bytes of ann's next connection, whose host keeps little of what she does not read; it ends then.
async fn read_some(server: &Server, place: &str, version: &str, bytes: usize) -> String {
    begin_to_read(server, place, version, bytes).await.0
}

async fn begin_to_read(server: &Server, place: &str, version: &str, bytes: usize) -> (String, tokio::net::TcpStream) {
    server.connections(0).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stream = soon("a connection", socket.connect(server.address)).await.unwrap();
    let request = format!("GET /sse?user=ann&lastEventId={place} HTTP/{version}\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = vec![0; bytes];
    soon("a part", stream.read_exact(&mut some)).await.unwrap();
    (String::from_utf8(some).unwrap(), stream)
}

/// The kernel goes on with what is left when the server ends the stream.
#[tokio::test]
async fn a_large_event_behind_which_the_server_ends_the_stream_is_not_passed_over() {
    let (server, place) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let (some, mut stream) = begin_to_read(&server, &place, "1.1", 32 * 1024).await;
        assert!(some.contains("event: large"));
        server.sse.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
        server.connections(0).await;
        let mut rest = Vec::new();
        soon("the end", stream.read_to_end(&mut rest)).await.unwrap();
        assert!(String::from_utf8_lossy(&rest).contains("event: behind"));
    }
    assert_eq!(server.sse.stats().lost, 0);
}

/// A line that is too slow for a large event: something on the way ends the connection before it is there.
#[tokio::test]
async fn a_large_event_that_is_cut_three_times_is_passed_over() {
    let mut cases = vec![(wire(), 1024 * 1024)];
    // The kernel takes the smaller ones whole.
    cases.extend([70_000, 100_000, 200_000, 1_000_000].map(|size| (WireConfig::default(), size)));
    for (case, version) in cases.iter().flat_map(|case| [(case, "1.0"), (case, "1.1")]) {
        let (wire, size) = case.clone();
        let (server, place) = missed(wire, 1, size).await;
        for cut in 0..3 {
            let some = read_some(&server, &place, version, 32 * 1024).await;
            assert!(some.contains("event: before") && some.contains("event: large"), "{size} {version} {cut}");
        }
        server.connections(0).await;
        let mut last = server.open(&format!("user=ann&lastEventId={place}")).await;
        assert_eq!(last.event().await.name(), "before");
        let lost = last.event().await;
        assert_eq!((lost.name(), &lost.json()["position"]), ("lost", &serde_json::json!(2)), "{size} {version}");
        assert!(lost.json()["size"].as_u64().unwrap() > size as u64);
        assert_eq!(last.event().await.name(), "behind");
        assert_eq!(server.sse.stats().lost, 1);
    }
}

#[tokio::test]
async fn a_large_event_that_has_arrived_is_not_passed_over() {
    let (server, place) = missed(WireConfig::default(), 1, 70_000).await;
    for _ in 0..4 {
        let mut reader = server.open(&format!("user=ann&lastEventId={place}")).await;
        // With something unread its host would answer with a reset, which acknowledges nothing.
        for name in ["before", "large", "behind"] {
            assert_eq!(reader.event().await.name(), name);
        }
        drop(reader);
        server.connections(0).await;
    }
}

#[tokio::test]
async fn a_large_event_of_which_nothing_has_arrived_is_not_passed_over() {
    // What comes before it fills all that the client's host has room for.
    let (server, place) = missed(WireConfig::default(), 60_000, 400_000).await;
    for _ in 0..4 {
        let some = read_some(&server, &place, "1.1", 4 * 1024).await;
        assert!(some.contains("event: before") && !some.contains("event: large"));
    }
    server.connections(0).await;
    let mut last = server.open(&format!("user=ann&lastEventId={place}")).await;
    for name in ["before", "large", "behind"] {
        assert_eq!(last.event().await.name(), name);
    }
}
