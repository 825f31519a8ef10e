//! Clients that stop reading.

use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_core::{CloseReason, ConnectionId, Drain, RealtimeProvider, Target};
use realtime_http::{HttpProvider, WireConfig};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::Served;
use serde_json::json;

use crate::support::{Client, Server, Setup, Transport, id_in, in_time, runtime};

/// The write stall: long enough for a healthy client on a loaded machine to read.
const STALL: Duration = Duration::from_millis(1500);

fn small_buffers() -> WireConfig {
    WireConfig::default().with_unsent_low_water(16 * 1024)
}

/// Connects a client on a websocket with a small receive buffer, and reads its welcome.
async fn small(server: &Server, user: &str) -> (Client, ConnectionId) {
    let mut client = server.open_small(Transport::Websocket).await;
    let id = id_in(&client.enter(&json!({ "user": user })).await);
    (client, id)
}

/// Sends to all, with the healthy client reading, until the stuck one is closed. Returns how long
/// that took.
async fn until_stalled(server: &Server, healthy: &mut Client, stuck: ConnectionId) -> Duration {
    let start = Instant::now();
    let text = "x".repeat(10_000);
    let mut sent = 0;
    while server.hooks.of(stuck).len() < 2 {
        server.send(Target::all(), "n", json!([sent, text])).await;
        assert_eq!(healthy.event("n").await[0], sent);
        sent += 1;
        // A pace that the healthy client can follow.
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(start.elapsed() < crate::support::DEADLINE, "still connected");
    }
    assert_eq!(server.ended(stuck).await, CloseReason::WRITE_STALL);
    start.elapsed()
}

fn config() -> SocketIoConfig {
    SocketIoConfig::default().with_write_stall(STALL)
}

/// By the session, and by the listener.
#[tokio::test]
async fn stalled_client_is_closed_without_affecting_others() {
    let by_listener = small_buffers().with_write_stall(STALL);
    let cases = [
        (Setup::from(config()).with_wire(small_buffers()), Transport::Websocket),
        (Setup::default().with_wire(by_listener), Transport::Websocket),
        (Setup::from(config()), Transport::Polling),
    ];
    for (setup, transport) in cases {
        let server = setup.start().await;
        let (mut healthy, _) = server.client(transport, "healthy").await;
        let (_stuck, id) = match transport {
            Transport::Polling => server.client(transport, "stuck").await,
            Transport::Websocket => small(&server, "stuck").await,
        };
        let took = until_stalled(&server, &mut healthy, id).await;
        assert!(took >= STALL, "{took:?}");
        let stats = server.stats();
        assert_eq!((stats.stalled, stats.connections, stats.lost), (1, 1, 0));
    }
}

/// Behind a listener without guards, as with plain `axum::serve`.
#[tokio::test]
async fn plain_listener_serves_clients_and_closes_stalled_one() {
    let plain = |provider: Arc<SocketIoProvider>, listener| axum::serve(listener, provider.router());
    let server = Server(Served::run(SocketIoProvider::new(config()), runtime(), plain).await);

    let (mut polling, id) = server.client(Transport::Polling, "ann").await;
    server.send_numbers("ann", 0..1000).await;
    for n in 0..300 {
        assert_eq!(polling.event("n").await, n);
    }
    let mut upgraded = polling.upgrade().await;
    for n in 300..1000 {
        assert_eq!(upgraded.event("n").await, n);
    }
    server.leave(&mut upgraded, id).await;
    let (mut healthy, _) = server.client(Transport::Websocket, "healthy").await;
    let (_stuck, id) = small(&server, "stuck").await;
    until_stalled(&server, &mut healthy, id).await;
    assert_eq!(server.stats().stalled, 1);
}

/// Fills all buffers between the outbox and a client that does not read, until the outbox
/// overflows.
async fn fill(server: &Server, user: &str) {
    let text = "x".repeat(50_000);
    let mut sent = 0;
    while server.stats().overflows == 0 {
        server.send(Target::user(user), "n", json!([sent, text])).await;
        sent += 1;
        assert!(sent < 2000, "100 MB were buffered for a client that does not read");
    }
}

#[tokio::test]
async fn kicked_stuck_client_is_closed_soon_with_given_reason() {
    for reason in [CloseReason::KICKED, CloseReason::RESTART] {
        let server = Setup::from(config()).with_wire(small_buffers()).start().await;
        let (_stuck, id) = small(&server, "stuck").await;
        fill(&server, "stuck").await;
        server.provider.close(Target::user("stuck"), reason.clone()).await.unwrap();
        assert_eq!(server.ended(id).await, reason);
        assert_eq!((server.stats().connections, server.stats().stalled), (0, 0));
    }
}

#[tokio::test]
async fn shutdown_runs_hooks_of_stuck_client_without_waiting() {
    let server = Setup::default().with_wire(small_buffers()).start().await;
    let (_stuck, id) = small(&server, "stuck").await;
    let (_silent, polling) = server.client(Transport::Polling, "silent").await;
    fill(&server, "stuck").await;
    server.send_numbers("silent", 0..200).await;
    in_time("the shutdown", server.provider.shutdown(Drain::now())).await;
    for id in [id, polling] {
        let calls = server.hooks.of(id);
        assert_eq!(
            (calls.len(), calls[1].ended.clone()),
            (2, Some(CloseReason::RESTART)),
            "called before the shutdown returns"
        );
    }
    assert_eq!(server.stats().connections, 0);
}
