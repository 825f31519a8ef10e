//! Bursts of events, which arrive in order and completely.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_core::{Handlers, InboundRate, Limits, WindowConfig};
use realtime_socketio::SocketIoConfig;
use serde_json::json;

use crate::TRANSPORTS;
use crate::support::{Client, Server, Setup, Transport};

async fn read_numbers(client: &mut Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        assert_eq!(client.event("n").await, n);
    }
}

#[tokio::test]
async fn upgrading_client_gets_5000_events_in_order() {
    for read_before in [0, 1, 100, 1000] {
        let server = Server::start().await;
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
#[tokio::test]
async fn client_gets_60000_events_between_pings() {
    const COUNT: usize = 60_000;
    let window = WindowConfig::default().with_records(COUNT).with_age(Duration::from_secs(600));
    let config = SocketIoConfig::default().with_ping_interval(Duration::from_millis(100)).with_window(window);
    for transport in TRANSPORTS {
        let server = Setup::from(config.clone()).start().await;
        let (mut client, _) = server.client(transport, "ann").await;
        server.send_numbers("ann", 0..COUNT).await;
        read_numbers(&mut client, 0..COUNT).await;
        assert_eq!((server.stats().lost, server.stats().dropped), (0, 0));
        assert_eq!(server.stats().connections, 1);
    }
}

/// One client sends them as fast as possible.
#[tokio::test]
async fn server_gets_20000_events_in_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let numbers = Arc::clone(&seen);
    let limits = Limits::default().with_inbound_per_connection(InboundRate::unlimited());
    let setup = Setup::from(SocketIoConfig::default().with_limits(limits)).with_handlers(move |provider| {
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
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for chunk in (0..20_000).collect::<Vec<u64>>().chunks(500) {
            client.emit_all(chunk.iter().map(|n| ("n", json!(n)))).await;
        }
        client.emit("n", &[json!(20_000)], Some(1)).await;
        assert_eq!(client.ack(1).await, json!([20_000]));
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), (0..=20_000).collect::<Vec<_>>());
    }
}
