//! The close of connections.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Reader, Server, Setup};
use realtime_core::spi::Runtime;
use realtime_core::{CloseReason, Drain, Error, Event, RealtimeProvider, Target};
use realtime_http::HttpProvider;
use realtime_testkit::conformance::VisitorAuthenticator;
use realtime_testkit::eventually;

#[tokio::test]
async fn closed_stream_sends_its_queue_and_ends_orderly() {
    let server = Server::start().await;
    let mut readers = [server.open("user=ann").await, server.open("user=ann").await];
    let mut bob = server.open("user=bob").await;
    for i in 0..100 {
        server.send(Target::all(), "n", i).await;
    }

    assert_eq!(server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 2);

    for reader in &mut readers {
        // A connection that is behind then no longer reads the window, so it may end earlier.
        let mut next = 0;
        let mut last = None;
        while let Some(block) = reader.try_block().await.unwrap() {
            if block.name() == "n" {
                assert_eq!(block.json(), next);
                next += 1;
            }
            last = Some(block);
        }
        let last = last.unwrap();
        let said = serde_json::json!({"code": 4000, "reason": "closed by the server", "reconnect": false});
        assert_eq!((last.name(), last.json()), ("closed", said));
    }
    eventually("both hooks have run", || server.hooks.closes("ann") == [CloseReason::KICKED, CloseReason::KICKED])
        .await;
    server.send(Target::all(), "after", ()).await;
    for i in 0..100 {
        bob.expect("n", i).await;
    }
    bob.expect("after", ()).await;
}

#[tokio::test]
async fn closed_http2_stream_leaves_the_others_open() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut ann = Reader::of(client.get(server.url("/sse?user=ann"))).await;
    let mut bob = Reader::of(client.get(server.url("/sse?user=bob"))).await;
    ann.connected().await;
    bob.connected().await;

    server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();

    ann.ended().await;
    server.send(Target::all(), "n", 1).await;
    bob.expect("n", 1).await;
}

#[tokio::test]
async fn shutdown_closes_streams_and_accepts_no_more() {
    let server = Server::start().await;
    let mut readers = Vec::new();
    for i in 0..20 {
        readers.push(server.open(&format!("user=u{i}")).await);
    }

    server.provider.shutdown(Drain::over(Duration::from_millis(500)).with_hold(Duration::ZERO)).await;

    for (i, reader) in readers.iter_mut().enumerate() {
        assert_eq!(server.hooks.closes(&format!("u{i}")), [CloseReason::RESTART], "the hooks have run");
        reader.ended().await;
    }
    assert_eq!(server.stats().connections, 0);
    assert!(!server.provider.is_ready());
    let late = server.get("/sse?user=late").send().await.unwrap();
    assert_eq!(late.status(), 200, "any other status is final for a browser");
    assert_eq!(late.headers()["content-type"], "text/event-stream");
    assert_eq!(late.headers()["connection"], "close", "a request on the same connection would reach the same node");
    let text = late.text().await.unwrap();
    // A line without an empty one, because some clients take every block for an event.
    let after: u64 = text.strip_prefix("retry: ").unwrap().strip_suffix('\n').unwrap().parse().unwrap();
    assert!((1000..4000).contains(&after), "{after}");
    assert_eq!(server.stats().refused["draining"], 1);
    let sent = server.provider.broadcast().to_all(Event::json("n", &1).unwrap()).await;
    assert!(matches!(sent, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn stream_closes_when_its_identity_expires() {
    let runtime = Runtime::in_memory().with_authenticator(VisitorAuthenticator);
    let server = Setup { runtime, ..Setup::default() }.start().await;
    let mut reader = server.open("user=brief&lifetimeMs=200").await;

    reader.ended().await;

    assert_eq!(server.hooks.close_of("brief").await, CloseReason::EXPIRED);
}

#[tokio::test]
async fn closed_connections_leave_nothing_behind() {
    let server = Server::start().await;
    let held = Arc::strong_count(&server.provider);
    for round in 0..20 {
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(server.open(&format!("user=u{round}&tenant=t")).await);
        }
        drop(readers);
        server.connections(0).await;
    }
    let stats = server.stats();
    assert_eq!((stats.connections, stats.users, stats.connected), (0, 0, 100));
    eventually("all hooks have run", || (0..20).all(|round| server.hooks.closes(&format!("u{round}")).len() == 5))
        .await;
    eventually("every request has ended", || Arc::strong_count(&server.provider) == held).await;
}
