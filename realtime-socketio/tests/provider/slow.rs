//! Clients that read slowly but steadily.

use std::time::{Duration, Instant};

use realtime_core::{OutboxConfig, Target};
use realtime_http::WireConfig;
use realtime_socketio::SocketIoConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Client, Server, Setup, Transport, Wire, soon};

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
        let count = soon("some bytes", stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "the connection was closed");
        read.extend_from_slice(&buffer[..count]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read.len() < LARGE, "the pace is too fast for this test");
    read
}

pub(crate) async fn small_stream(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(server.address).await.unwrap()
}

#[tokio::test]
async fn slow_websocket_reader_stays_connected() {
    let server = server().await;
    let mut client =
        Client::open_with(server.address, Transport::Websocket, "/socket.io/", "", Some(8 * 1024)).await.unwrap();
    client.connect("/", &json!({"user": "slow"})).await.unwrap();
    client.event("connected").await;
    send(&server).await;
    let Wire::Websocket(mut websocket) = client.wire else { unreachable!() };
    let mut read = read_slowly(websocket.0.get_mut()).await;
    // The rest is read fast.
    let last = b"[\"n\",199,";
    let mut buffer = vec![0; 256 * 1024];
    while !read[read.len().saturating_sub(1000)..].windows(last.len()).any(|window| window == last) {
        let count = soon("the rest", websocket.0.get_mut().read(&mut buffer)).await.unwrap();
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
    let path = polling.url.split_once(&server.address.to_string()).unwrap().1;
    let mut stream = small_stream(&server).await;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut response = read_slowly(&mut stream).await;
    soon("the rest", stream.read_to_end(&mut response)).await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let first = response.matches("42[\"n\",").count();
    assert!(first < 200, "the window is smaller than what was sent");
    for n in first..200 {
        assert_eq!(client.event("n").await, n);
    }
    assert_eq!((server.stats().connections, server.stats().stalled, server.stats().lost), (1, 0, 0));
}
