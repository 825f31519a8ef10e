//! Bursts of events, which arrive in order and completely.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_core::{Handlers, WindowConfig};
use realtime_socketio::SocketIoConfig;
use serde_json::json;

use crate::support::{Client, Server, Setup, Transport};

async fn read_numbers(client: &mut Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        assert_eq!(client.event("n").await, n);
    }
}

/// Starts a server whose window holds `count` records.
async fn server(config: SocketIoConfig, count: usize) -> Server {
    let window = WindowConfig::default().with_records(count).with_age(Duration::from_secs(600));
    Setup::from(config.with_window(window)).start().await
}

async fn check_5000_events(transport: Transport) {
    const COUNT: usize = 5000;
    let server = server(SocketIoConfig::default(), COUNT).await;
    let (mut client, _) = server.client(transport, "ann").await;
    // All are sent before the client reads the first one.
    server.send_numbers("ann", 0..COUNT).await;
    read_numbers(&mut client, 0..5000).await;
    assert_eq!((server.stats().lost, server.stats().dropped), (0, 0));
}

#[tokio::test]
async fn websocket_delivers_5000_events_in_order() {
    check_5000_events(Transport::Websocket).await;
}

#[tokio::test]
async fn polling_delivers_5000_events_in_order() {
    check_5000_events(Transport::Polling).await;
}

#[tokio::test]
async fn upgrading_client_gets_5000_events_in_order() {
    for read_before in [0, 1, 100, 1000] {
        let server = server(SocketIoConfig::default(), 5000).await;
        let (mut client, _) = server.client(Transport::Polling, "ann").await;
        tokio::join!(server.send_numbers("ann", 0..5000), async {
            read_numbers(&mut client, 0..read_before).await;
            let mut client = client.upgrade().await;
            read_numbers(&mut client, read_before..5000).await;
        });
        assert_eq!((server.stats().lost, server.stats().dropped), (0, 0));
    }
}

/// Engine.IO takes a client for dead whose channel is full at the moment of a ping.
async fn check_60000_events_between_pings(transport: Transport) {
    const COUNT: usize = 60_000;
    let config = SocketIoConfig::default().with_ping_interval(Duration::from_millis(100));
    let server = server(config, COUNT).await;
    let (mut client, _) = server.client(transport, "ann").await;
    server.send_numbers("ann", 0..COUNT).await;
    read_numbers(&mut client, 0..COUNT).await;
    assert_eq!((server.stats().lost, server.stats().dropped), (0, 0));
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn websocket_delivers_60000_events_between_pings() {
    check_60000_events_between_pings(Transport::Websocket).await;
}

#[tokio::test]
async fn polling_delivers_60000_events_between_pings() {
    check_60000_events_between_pings(Transport::Polling).await;
}

/// Sends 20,000 events from one client, in order, as fast as possible.
async fn check_20000_inbound_events(transport: Transport) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let numbers = Arc::clone(&seen);
    let setup = Setup::default().with_handlers(move |provider| {
        provider.on("n", move |_, n: u64| {
            let numbers = Arc::clone(&numbers);
            async move {
                // Yields now and then, so that a wrong order would show.
                if n.is_multiple_of(100) {
                    tokio::task::yield_now().await;
                }
                numbers.lock().unwrap().push(n);
                realtime_core::Reply(n)
            }
        })
    });
    let server = setup.start().await;
    let (mut client, _) = server.client(transport, "ann").await;
    for chunk in (0..20_000).collect::<Vec<u64>>().chunks(500) {
        client.emit_all(chunk.iter().map(|n| ("n", json!(n)))).await;
    }
    client.emit("n", &[json!(20_000)], Some(1)).await;
    assert_eq!(client.ack(1).await, json!([20_000]));
    assert_eq!(*seen.lock().unwrap(), (0..=20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn websocket_receives_20000_events_in_order() {
    check_20000_inbound_events(Transport::Websocket).await;
}

#[tokio::test]
async fn polling_receives_20000_events_in_order() {
    check_20000_inbound_events(Transport::Polling).await;
}
