//! At a user's limit: who is told to come back, and who makes room.

use std::time::{Duration, Instant};

use crate::support::{Reader, Server, Setup, until, vanish};
use realtime_core::{CloseReason, Limits, RealtimeProvider, Target};
use realtime_http::TrustedProxies;
use realtime_sse::SseConfig;

/// What a browser's `EventSource` sends.
fn event_source(server: &Server, path: &str) -> reqwest::RequestBuilder {
    server.get(path).header("accept", "text/event-stream").header("cache-control", "no-cache")
}

fn places(most: usize) -> SseConfig {
    SseConfig::default().with_limits(Limits::default().with_connections_per_user(most).with_connections(2 * most))
}

#[tokio::test]
async fn an_event_source_is_told_to_come_back_and_others_are_refused() {
    let server = Setup::from(places(1)).start().await;
    let _first = server.open("user=ann").await;
    let mut delays = Vec::new();
    for _ in 0..5 {
        let mut told = Reader::of(event_source(&server, "/sse?user=ann")).await;
        assert_eq!((told.status.as_u16(), told.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
        let error = told.block().await;
        assert_eq!((error.name(), &error.json()["code"]), ("error", &"user_limit".into()));
        delays.push(error.retry.unwrap().parse::<u64>().unwrap());
        assert_eq!(told.try_block().await, Ok(None), "its end");
    }
    assert!(delays.iter().all(|delay| (5_000..=10_000).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");

    let others = [
        server.get("/sse?user=ann").header("accept", "text/event-stream"),
        event_source(&server, "/sse?user=ann").header("authorization", "Bearer x"),
        server.get("/sse?user=ann").header("accept", "*/*").header("cache-control", "no-cache"),
    ];
    for other in others {
        let refused = Reader::of(other).await;
        let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!((refused.status.as_u16(), (5..=10).contains(&after)), (429, true));
        assert_eq!(refused.error().await["code"], "user_limit");
    }
    assert_eq!(server.sse.stats().refused["user_limit"], 8);

    // The node's own limit frees itself too; what does not is final.
    let _second = server.open("user=bob").await;
    let mut delays = Vec::new();
    for _ in 0..5 {
        let mut full = Reader::of(event_source(&server, "/sse?user=eve")).await;
        let error = full.block().await;
        assert_eq!((full.status.as_u16(), &error.json()["code"]), (200, &"node_limit".into()));
        delays.push(error.retry.unwrap().parse::<u64>().unwrap());
    }
    assert!(delays.iter().all(|delay| (5_000..=10_000).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay != delays[0]), "{delays:?}");
    assert_eq!(Reader::of(event_source(&server, "/sse?user=banned")).await.status, 403);
}

#[tokio::test]
async fn connections_whose_host_is_gone_make_room() {
    let server = Setup::from(places(4)).start().await;
    let mut alive = server.open("user=ann").await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        dead.push(server.open_raw("user=ann").await);
    }
    server.connections(4).await;
    dead.iter().for_each(vanish);

    let begun = Instant::now();
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    server.connections(1).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until("their ends", || server.life.gone("ann") == [const { CloseReason::CONNECTION_LOST }; 3]).await;
    for _ in 0..3 {
        server.open("user=ann").await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.send(Target::user("ann"), "still", "there").await;
    alive.expect("still", "there").await;
}

#[tokio::test]
async fn a_host_that_has_given_a_sign_of_life_has_the_usual_time_again() {
    let server = Setup::from(places(1)).start().await;
    let client = server.open_raw("user=ann").await;
    server.connections(1).await;
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    tokio::time::sleep(Duration::from_secs(4)).await;
    vanish(&client);
    server.send(Target::user("ann"), "n", "not acknowledged").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.sse.stats().connections, 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_what_waits_makes_room() {
    let server = Setup::from(places(1)).start().await;
    let _stuck = server.open_raw("user=ann").await;
    server.connections(1).await;
    let text = "x".repeat(100_000);
    for _ in 0..200 {
        server.send(Target::user("ann"), "n", &text).await;
    }
    until("an overflow", || server.sse.stats().overflows > 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    server.connections(0).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_its_clients() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let server = Setup::from(places(1).with_trusted_proxies(proxies)).start().await;
    let client = server.open_raw("user=ann").await;
    server.connections(1).await;
    vanish(&client);
    assert_eq!(Reader::of(server.get("/sse?user=ann")).await.status, 429);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(server.sse.stats().connections, 1);
}
