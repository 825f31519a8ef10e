//! A user's limit: retries of rejected clients, and slots of dead connections.

use std::time::{Duration, Instant};

use crate::support::{Reader, Server, Setup};
use realtime_core::{CloseReason, Limits, Target};
use realtime_http::TrustedProxies;
use realtime_sse::SseConfig;
use realtime_testkit::{blackhole, eventually};

/// Returns a request as a browser's `EventSource` sends it.
fn event_source(server: &Server, path: &str) -> reqwest::RequestBuilder {
    server.get(path).header("accept", "text/event-stream").header("cache-control", "no-cache")
}

/// Returns a configuration with this many slots for each user, and twice as many in all.
fn slots(most: usize) -> SseConfig {
    SseConfig::default().with_limits(Limits::default().with_connections_per_user(most).with_connections(2 * most))
}

/// Asserts that an `EventSource` gets this error and varying times to reconnect after.
async fn assert_rejected_for_now(server: &Server, path: &str, code: &str) {
    let mut delays = Vec::new();
    for _ in 0..5 {
        let mut rejected = Reader::of(event_source(server, path)).await;
        assert_eq!(rejected.status, 200);
        assert_eq!(rejected.headers["content-type"], "text/event-stream");
        let error = rejected.block().await;
        assert_eq!((error.name(), &error.json()["code"]), ("error", &code.into()));
        delays.push(error.retry.unwrap().parse::<u64>().unwrap());
        assert_eq!(rejected.try_block().await, Ok(None), "the orderly end");
    }
    assert!(delays.iter().all(|delay| (5_000..=10_000).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
}

#[tokio::test]
async fn event_source_gets_a_retry_and_other_clients_a_429() {
    let server = Setup::from(slots(1)).start().await;
    let _first = server.open("user=ann").await;
    assert_rejected_for_now(&server, "/sse?user=ann", "user_limit").await;

    let others = [
        server.get("/sse?user=ann").header("accept", "text/event-stream"),
        event_source(&server, "/sse?user=ann").header("authorization", "Bearer good"),
        server.get("/sse?user=ann").header("accept", "*/*").header("cache-control", "no-cache"),
    ];
    for other in others {
        let refused = Reader::of(other).await;
        let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!((refused.status.as_u16(), (5..=10).contains(&after)), (429, true));
        assert_eq!(refused.headers["content-type"], "application/json");
        assert_eq!(refused.error().await["code"], "user_limit");
    }
    assert_eq!(server.stats().refused["user_limit"], 8);

    // The node's limit is temporary too; other refusals are final.
    let _second = server.open("user=bob").await;
    assert_rejected_for_now(&server, "/sse?user=eve", "node_limit").await;
    assert_eq!(Reader::of(event_source(&server, "/sse?user=banned")).await.status, 403);
}

#[tokio::test]
async fn connections_of_unreachable_hosts_free_their_slots() {
    let server = Setup::from(slots(4)).start().await;
    let mut alive = server.open("user=ann").await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(server.open_raw("user=ann").await);
    }
    server.connections(4).await;
    dead.iter().for_each(blackhole);

    let begun = Instant::now();
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    server.connections(1).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually("three closes", || server.hooks.closes("ann") == [const { CloseReason::CONNECTION_LOST }; 3]).await;
    for _ in 0..3 {
        server.open("user=ann").await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.send(Target::user("ann"), "still", "there").await;
    alive.expect("still", "there").await;
}

#[tokio::test]
async fn host_that_answered_the_probe_gets_the_usual_time_again() {
    let server = Setup::from(slots(1)).start().await;
    let client = server.open_raw("user=ann").await;
    server.connections(1).await;
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    tokio::time::sleep(Duration::from_secs(4)).await;
    blackhole(&client);
    server.send(Target::user("ann"), "n", "not acknowledged").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn client_that_reads_nothing_frees_its_slot() {
    let server = Setup::from(slots(1)).start().await;
    let _stuck = server.open_raw("user=ann").await;
    server.connections(1).await;
    let text = "x".repeat(100_000);
    for _ in 0..200 {
        server.send(Target::user("ann"), "n", &text).await;
    }
    eventually("an overflow", || server.stats().overflows > 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    server.connections(0).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn proxy_is_not_probed_for_its_clients() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let server = Setup::from(slots(1).with_trusted_proxies(proxies)).start().await;
    let client = server.open_raw("user=ann").await;
    server.connections(1).await;
    blackhole(&client);
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(server.stats().connections, 1);
}
