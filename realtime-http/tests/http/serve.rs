//! `serve()` over real sockets: slow, silent and hostile clients, HTTP/2, upgrades.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use crate::support::{
    CountingWaker, STALL, ask, config, connect, drain, get_http2, head, http2_client, in_time, response, server,
    upgraded,
};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use realtime_http::WireConfig;
use realtime_testkit::{DEADLINE, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, split},
    time::timeout,
};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn client_that_stops_reading_is_reset_alone() {
    let mut server = server(config(), |serve| serve).await;
    let mut healthy = connect(server.address).await;
    let mut stuck = connect(server.address).await;
    let start = Instant::now();
    ask(&mut stuck, "/flood").await;

    let mut answers = 0;
    let age = loop {
        ask(&mut healthy, "/hello").await;
        assert_eq!(response(&mut healthy).await.1, "hello");
        answers += 1;
        if server.guard.stalls() > 0 {
            break server.body_dropped().await;
        }
        assert!(start.elapsed() < DEADLINE, "expected a reset");
    };

    assert!(age >= STALL, "reset after {age:?}");
    assert_eq!(server.guard.stalls(), 1);
    assert!(answers > 10, "{answers} answers meanwhile");
    ask(&mut healthy, "/hello").await;
    assert_eq!(response(&mut healthy).await.1, "hello");
    // Unread bytes are lost with a reset, not kept by the kernel.
    let mut rest = Vec::new();
    let reset = in_time("a reset", stuck.read_to_end(&mut rest)).await;
    assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn slow_but_steady_client_stays_connected() {
    let stall = Duration::from_secs(1);
    let mut server = server(config().with_write_stall(stall), |serve| serve).await;
    let mut slow = connect(server.address).await;
    ask(&mut slow, "/flood").await;
    head(&mut slow).await;

    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut buffer = [0; 1024];
    let start = Instant::now();
    while start.elapsed() < 3 * stall {
        pace.tick().await;
        in_time("a piece", slow.read_exact(&mut buffer)).await.unwrap();
    }

    assert_eq!(server.guard.stalls(), 0);
    // The same client is reset when it stops.
    let age = server.body_dropped().await;
    assert!(age >= 3 * stall, "{age:?}");
    assert_eq!(server.guard.stalls(), 1);
}

#[tokio::test]
async fn slow_client_leaves_little_in_the_kernel() {
    let mut server = server(WireConfig::default().with_write_stall(STALL), |serve| serve).await;
    let mut stuck = connect(server.address).await;
    ask(&mut stuck, "/flood").await;
    server.body_dropped().await;

    // The client can still read what the kernel had sent.
    let got = drain(&mut stuck).await;
    assert!(got < 1024 * 1024, "{got} bytes");
}

#[tokio::test]
async fn unfinished_requests_are_closed() {
    let server = server(config().with_header_read_timeout(SHORT), |serve| serve).await;
    let unfinished = [
        "",
        "G",
        "GET",
        "GET / HTTP/1.1\r\nhost: te",
        "P",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        "PRI * HTTP/1.1\r\n",
    ];
    let closed = unfinished.map(async |sent| {
        let start = Instant::now();
        let mut client = connect(server.address).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        drain(&mut client).await;
        let age = start.elapsed();
        assert!(age >= SHORT, "{sent:?} was closed after {age:?}");
    });
    join_all(closed).await;
}

#[tokio::test]
async fn idle_connection_between_requests_is_closed() {
    let server = server(config().with_header_read_timeout(SHORT), |serve| serve).await;
    let mut client = connect(server.address).await;
    for _ in 0..3 {
        ask(&mut client, "/hello").await;
        assert_eq!(response(&mut client).await.1, "hello");
    }
    let start = Instant::now();
    assert_eq!(drain(&mut client).await, 0);
    assert!(start.elapsed() >= SHORT / 2, "closed after {:?}", start.elapsed());
}

#[tokio::test]
async fn header_timeout_leaves_open_responses_alone() {
    let mut server = server(config().with_header_read_timeout(SHORT), |serve| serve).await;
    let mut client = connect(server.address).await;
    ask(&mut client, "/silence").await;
    head(&mut client).await;
    let mut word = [0; 4 + 5];
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"4\r\nopen\r\n");

    assert!(timeout(3 * SHORT, client.read_u8()).await.is_err(), "expected an open response");

    drop(client);
    let age = server.body_dropped().await;
    assert!(age >= 3 * SHORT, "{age:?}");
}

#[tokio::test]
async fn request_sent_byte_by_byte_is_served() {
    let server = server(config(), |serve| serve).await;
    // PUT, POST and PATCH share their beginning with the HTTP/2 preface.
    for method in ["GET", "PUT", "PRI"] {
        let mut client = connect(server.address).await;
        client.set_nodelay(true).unwrap();
        for byte in format!("{method} /hello HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").bytes() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let head = head(&mut client).await;
        let status = if method == "GET" { "200" } else { "405" };
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {head}");
    }
}

#[tokio::test]
async fn kill_closes_a_connection_immediately() {
    let mut server = server(config(), |serve| serve).await;
    let mut client = connect(server.address).await;
    ask(&mut client, "/wire").await;
    response(&mut client).await;
    let wire = server.wire().await;
    assert_eq!(wire.peer(), client.local_addr().unwrap());
    ask(&mut client, "/silence").await;
    head(&mut client).await;

    wire.kill();

    server.body_dropped().await;
    drain(&mut client).await;
    assert!(!wire.stalled());
    assert_eq!(server.guard.stalls(), 0);
    assert!(wire.closed());
}

#[tokio::test]
async fn paused_reads_block_the_client() {
    let mut server = server(config(), |serve| serve).await;
    let (mut client, wire, mut upgraded) = upgraded(&mut server).await;
    // A reader that is already waiting is paused too.
    let counting = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        loop {
            match upgraded.read(&mut buffer).await.unwrap() {
                0 => return total,
                bytes => total += bytes,
            }
        }
    });
    wire.pause_reads(true);

    // The kernels' buffers fill, then the client is blocked.
    let mut sent = 0;
    while let Ok(writable) = timeout(SHORT, client.writable()).await {
        writable.unwrap();
        match client.try_write(&[b'x'; 4096]) {
            Ok(bytes) => sent += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(sent < 64 * 1024 * 1024, "expected a blocked client, sent {sent} bytes");
    }
    assert!(!counting.is_finished());

    wire.pause_reads(false);
    let more = 16 * 1024 * 1024;
    let chunk = vec![b'y'; 1024 * 1024];
    for _ in 0..more / chunk.len() {
        in_time("a write", client.write_all(&chunk)).await.unwrap();
    }
    client.shutdown().await.unwrap();
    assert_eq!(in_time("all bytes", counting).await.unwrap(), sent + more);
}

#[tokio::test]
async fn stalled_upgraded_connection_fails_reads_and_writes() {
    let mut server = server(config(), |serve| serve).await;
    let (mut client, wire, upgraded) = upgraded(&mut server).await;
    let (mut reader, mut writer) = split(upgraded);

    let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err().kind() });
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = writer.write_all(&[b'x'; 4096]).await {
                // Sticky: a writer that ignores the error gets it again.
                assert_eq!(writer.write_all(b"x").await.unwrap_err().kind(), ErrorKind::TimedOut);
                return error.kind();
            }
        }
    });

    assert_eq!(in_time("the writer's error", writing).await.unwrap(), ErrorKind::TimedOut);
    assert_eq!(in_time("the reader's error", reading).await.unwrap(), ErrorKind::TimedOut);
    assert!(wire.stalled());
    assert_eq!(server.guard.stalls(), 1);
    drain(&mut client).await;
}

#[tokio::test]
async fn upgraded_stream_reports_its_flushes() {
    let mut server = server(config(), |serve| serve).await;
    let (mut client, wire, mut upgraded) = upgraded(&mut server).await;
    let (count, waker) = CountingWaker::new();
    wire.on_drained(waker);

    upgraded.write_all(b"hi").await.unwrap();
    upgraded.flush().await.unwrap();

    eventually("the wake-up", || count.count() > 0).await;
    let mut hi = [0; 2];
    client.read_exact(&mut hi).await.unwrap();
    assert_eq!(&hi, b"hi");
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let server = server(config(), |serve| serve).await;
    let client = connect(server.address).await;
    let address = client.local_addr().unwrap();
    let (mut requests, _connection) = http2_client(client, 1000).await;

    for _ in 0..2 {
        let body = get_http2(&mut requests, "/peer").await.collect();
        assert_eq!(in_time("a body", body).await.unwrap().to_bytes(), address.to_string());
    }
}

#[tokio::test]
async fn http2_client_that_stops_reading_its_socket_is_reset() {
    let mut server = server(config(), |serve| serve).await;
    let mut client = connect(server.address).await;
    // A window that HTTP/2 itself never closes: only TCP can stall.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff";
    let window = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00";
    // :method GET, :scheme http, :path /flood and :authority x as literals (RFC 7541 §6.2.2).
    let headers = b"\x00\x00\x0d\x01\x05\x00\x00\x00\x01\x82\x86\x04\x06/flood\x01\x01x";
    for frame in [&preface[..], settings, window, headers] {
        client.write_all(frame).await.unwrap();
    }

    let age = server.body_dropped().await;

    assert!(age >= STALL, "{age:?}");
    assert_eq!(server.guard.stalls(), 1);
}

#[tokio::test]
async fn http2_peer_that_answers_no_ping_is_closed() {
    let config = config().with_http2_ping_interval(SHORT).with_http2_ping_timeout(SHORT);
    let server = server(config, |serve| serve).await;
    let mut client = connect(server.address).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let start = Instant::now();

    drain(&mut client).await;

    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn handlers_get_both_kinds_of_connect_info() {
    let server = server(config(), |serve| serve).await;
    let mut client = connect(server.address).await;
    ask(&mut client, "/peer").await;
    assert_eq!(response(&mut client).await.1, client.local_addr().unwrap().to_string());
}
