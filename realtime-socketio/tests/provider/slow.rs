//! Clients that read slowly but steadily.

use std::time::{Duration, Instant};

use realtime_core::{OutboxConfig, Target};
use realtime_http::WireConfig;
use realtime_socketio::SocketIoConfig;
use realtime_testkit::connect_with_small_buffer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, Setup, Transport, Wire, in_time};

const STALL: Duration = Duration::from_millis(1500);
const LARGE: usize = 8 * 1024 * 1024;

async fn server() -> Server {
    // Only the progress of the bytes may keep such a client connected.
    let config = SocketIoConfig::default()
        .with_max_event_bytes(2 * LARGE)
        .with_write_stall(STALL)
        .with_outbox(OutboxConfig::default().with_frames(4));
    let wire = WireConfig::default().with_unsent_low_water(16 * 1024).with_write_stall(STALL);
    Setup::from(config).with_wire(wire).start().await
}

/// Sends a large event, and more events behind it than a window and an outbox hold.
async fn send(server: &Server) {
    server.send(Target::user("slow"), "large", "x".repeat(LARGE)).await;
    server.send_numbers("slow", 0..200).await;
}

/// Reads at a slow pace for longer than a stall may last.
async fn read_slowly(stream: &mut TcpStream) -> Vec<u8> {
    let start = Instant::now();
    let mut read = Vec::new();
    let mut buffer = vec![0; 4 * 1024];
    while start.elapsed() < STALL * 2 {
        let count = in_time("some bytes", stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "the connection was closed");
        read.extend_from_slice(&buffer[..count]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read.len() < LARGE, "the pace is too fast for this test");
    read
}

#[tokio::test]
async fn slow_websocket_reader_stays_connected() {
    let server = server().await;
    let mut client = server.open_small(Transport::Websocket).await;
    client.enter(&json!({"user": "slow"})).await;
    send(&server).await;
    let Wire::Websocket(mut websocket) = client.wire else { unreachable!() };
    let mut read = read_slowly(websocket.0.get_mut()).await;
    // The rest is read fast.
    let last = b"[\"n\",199,";
    let mut buffer = vec![0; 256 * 1024];
    while !read[read.len().saturating_sub(1000)..].windows(last.len()).any(|window| window == last) {
        let count = in_time("the rest", websocket.0.get_mut().read(&mut buffer)).await.unwrap();
        assert!(count > 0, "the connection was closed");
        read.extend_from_slice(&buffer[..count]);
    }
    assert_eq!((server.stats().connections, server.stats().stalled, server.stats().lost), (1, 0, 0));
}

#[tokio::test]
async fn slow_polling_reader_stays_connected() {
    let server = server().await;
    let (mut client, _) = server.client(Transport::Polling, "slow").await;
    send(&server).await;
    let Wire::Polling(polling) = &client.wire else { unreachable!() };
    let path = polling.path();
    let mut stream = connect_with_small_buffer(server.address()).await;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut response = read_slowly(&mut stream).await;
    in_time("the rest", stream.read_to_end(&mut response)).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let first = response.matches("42[\"n\",").count();
    assert!(first < 200, "the window is smaller than what was sent");
    for n in first..200 {
        assert_eq!(client.event("n").await, n);
    }
    assert_eq!((server.stats().connections, server.stats().stalled, server.stats().lost), (1, 0, 0));
}
