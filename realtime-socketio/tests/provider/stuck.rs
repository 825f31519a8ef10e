//! Clients that stop reading.

use std::time::{Duration, Instant};

use realtime_core::{CloseReason, ConnectionId, Drain, RealtimeProvider, Target};
use realtime_http::{HttpProvider, WireConfig};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use serde_json::json;

use crate::support::{Client, Server, Setup, Transport, soon};

/// Long enough for a healthy client on a loaded machine to show that it reads.
const STALL: Duration = Duration::from_millis(1500);

fn small_buffers() -> WireConfig {
    WireConfig::default().with_unsent_low_water(16 * 1024)
}

/// A websocket with a small receive buffer, which has read its welcome.
async fn small(server: &Server, user: &str) -> (Client, ConnectionId) {
    let mut client =
        Client::open_with(server.address, Transport::Websocket, "/socket.io/", "", Some(8 * 1024)).await.unwrap();
    client.connect("/", &json!({ "user": user })).await.unwrap();
    let welcome = client.event("connected").await;
    (client, welcome["connectionId"].as_str().unwrap().parse().unwrap())
}

/// Sends to all, reading as the healthy one, until the stuck one is gone; answers how long that took.
async fn until_cut(server: &Server, healthy: &mut Client, stuck: ConnectionId) -> Duration {
    let begun = Instant::now();
    let text = "x".repeat(10_000);
    let mut sent = 0;
    while server.hooks.of(stuck).len() < 2 {
        server.send(Target::all(), "n", json!([sent, text])).await;
        assert_eq!(healthy.event("n").await[0], sent);
        sent += 1;
        // A healthy pace: not the machine's.
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(begun.elapsed() < crate::support::PATIENCE, "it is still there");
    }
    assert_eq!(server.ended(stuck).await, CloseReason::WRITE_STALL);
    begun.elapsed()
}

async fn is_cut(setup: Setup, transport: Transport) {
    let server = setup.start().await;
    let (mut healthy, _) = server.client(transport, "healthy").await;
    let (_stuck, id) = match transport {
        Transport::Polling => server.client(transport, "stuck").await,
        Transport::Websocket => small(&server, "stuck").await,
    };
    let took = until_cut(&server, &mut healthy, id).await;
    assert!(took >= STALL, "{took:?}");
    let stats = server.stats();
    assert_eq!((stats.stalled, stats.connections, stats.lost), (1, 1, 0));
}

fn config() -> SocketIoConfig {
    SocketIoConfig::default().with_write_stall(STALL)
}

#[tokio::test]
async fn a_websocket_is_cut_by_the_session() {
    is_cut(Setup::from(config()).with_wire(small_buffers()), Transport::Websocket).await;
}

#[tokio::test]
async fn a_websocket_is_cut_by_the_listener() {
    let wire = small_buffers().with_write_stall(STALL);
    is_cut(Setup::from(SocketIoConfig::default()).with_wire(wire), Transport::Websocket).await;
}

#[tokio::test]
async fn a_client_that_polls_no_more_is_cut() {
    is_cut(Setup::from(config()), Transport::Polling).await;
}

/// Behind a listener without guards, as plain `axum::serve` has it.
#[tokio::test]
async fn a_plain_listener_serves_both_transports_and_cuts_who_is_stuck() {
    let provider = std::sync::Arc::new(SocketIoProvider::new(config()));
    let hooks = realtime_testkit::conformance::HookLog::default();
    provider.attach(crate::support::runtime(&hooks)).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = std::sync::Arc::clone(&provider).router();
    let running = tokio::spawn(async move { axum::serve(listener, router).await });
    let server = Server::of(address, provider, hooks, running);

    let (mut polling, id) = server.client(Transport::Polling, "ann").await;
    server.send_numbers("ann", 0..1000).await;
    for n in 0..300 {
        assert_eq!(polling.event("n").await, n);
    }
    let mut upgraded = polling.upgrade().await;
    for n in 300..1000 {
        assert_eq!(upgraded.event("n").await, n);
    }
    upgraded.send("41").await;
    server.ended(id).await;
    let (mut healthy, _) = server.client(Transport::Websocket, "healthy").await;
    let (_stuck, id) = small(&server, "stuck").await;
    until_cut(&server, &mut healthy, id).await;
    assert_eq!(server.stats().stalled, 1);
}

/// Fills everything between a client that does not read and its outbox, and the outbox beyond.
async fn fill(server: &Server, user: &str) {
    let text = "x".repeat(50_000);
    let mut sent = 0;
    while server.stats().overflows == 0 {
        server.send(Target::user(user), "n", json!([sent, text])).await;
        sent += 1;
        assert!(sent < 2000, "100 MB were taken for a client that does not read");
    }
}

#[tokio::test]
async fn a_stuck_client_that_is_kicked_is_gone_soon_for_the_reason_given() {
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
async fn a_shutdown_does_not_wait_for_a_stuck_client_and_runs_its_hooks() {
    let server = Setup::default().with_wire(small_buffers()).start().await;
    let (_stuck, id) = small(&server, "stuck").await;
    let (_silent, polling) = server.client(Transport::Polling, "silent").await;
    fill(&server, "stuck").await;
    server.send_numbers("silent", 0..200).await;
    soon("the shutdown", server.provider.shutdown(Drain::now())).await;
    for id in [id, polling] {
        let calls = server.hooks.of(id);
        assert_eq!((calls.len(), calls[1].ended.clone()), (2, Some(CloseReason::RESTART)), "told before it returns");
    }
    assert_eq!(server.stats().connections, 0);
}
