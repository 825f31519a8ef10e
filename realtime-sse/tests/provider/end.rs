//! How connections end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::{Reader, Server, Setup, until};
use async_trait::async_trait;
use realtime_core::spi::Runtime;
use realtime_core::{
    Authenticator, CloseReason, ConnectRequest, Drain, Error, Event, Identity, RealtimeProvider, Refusal, Target,
};
use realtime_http::HttpProvider;

#[tokio::test]
async fn a_client_that_goes_is_gone_with_its_hooks_run() {
    let server = Server::start().await;
    let ann = server.open("user=ann").await;
    let mut bob = server.open("user=bob").await;
    until("the hook", || server.life.came("ann") == 1 && server.life.came("bob") == 1).await;

    drop(ann);

    until("the hook", || server.life.gone("ann") == [CloseReason::CONNECTION_LOST]).await;
    server.connections(1).await;
    assert_eq!(server.send(Target::all(), "n", 1).await.delivered.unwrap().matched, 1);
    bob.expect("n", 1).await;
    assert!(server.life.gone("bob").is_empty());
}

#[tokio::test]
async fn a_stream_that_is_closed_sends_what_waits_and_ends_properly() {
    let server = Server::start().await;
    let mut readers = [server.open("user=ann").await, server.open("user=ann").await];
    let mut bob = server.open("user=bob").await;
    for i in 0..100 {
        server.send(Target::all(), "n", i).await;
    }

    assert_eq!(server.sse.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 2);

    for reader in &mut readers {
        // A connection that is behind at that moment does not read the window any more, so its end may come sooner.
        let mut next = 0;
        while let Some(block) = reader.try_block().await.unwrap() {
            assert_eq!(block.json(), next);
            next += 1;
        }
    }
    until("the hooks", || server.life.gone("ann") == [CloseReason::KICKED, CloseReason::KICKED]).await;
    server.send(Target::all(), "after", ()).await;
    for i in 0..100 {
        bob.expect("n", i).await;
    }
    bob.expect("after", ()).await;
}

#[tokio::test]
async fn an_http2_stream_ends_alone() {
    let server = Server::start().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut ann = Reader::of(client.get(server.url("/sse?user=ann"))).await;
    let mut bob = Reader::of(client.get(server.url("/sse?user=bob"))).await;
    ann.connected().await;
    bob.connected().await;

    server.sse.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();

    ann.ended().await;
    server.send(Target::all(), "n", 1).await;
    bob.expect("n", 1).await;
}

#[tokio::test]
async fn a_shutdown_ends_every_stream_and_takes_no_more() {
    let server = Server::start().await;
    let mut readers = Vec::new();
    for i in 0..20 {
        readers.push(server.open(&format!("user=u{i}")).await);
    }

    server.sse.shutdown(Drain::over(Duration::from_millis(500)).hold(Duration::ZERO)).await;

    for (i, reader) in readers.iter_mut().enumerate() {
        assert_eq!(server.life.gone(&format!("u{i}")), [CloseReason::RESTART], "the hooks have run");
        reader.ended().await;
    }
    assert_eq!(server.sse.stats().connections, 0);
    assert!(!server.sse.is_ready());
    let late = server.get("/sse?user=late").send().await.unwrap();
    assert_eq!(late.status(), 200, "a browser gives up for good on any other status");
    assert_eq!(late.headers()["content-type"], "text/event-stream");
    assert_eq!(late.headers()["connection"], "close", "on the same connection it would ask the same node again");
    let text = late.text().await.unwrap();
    // A line and no block, in which some clients would look for an event.
    let after: u64 = text.strip_prefix("retry: ").unwrap().strip_suffix('\n').unwrap().parse().unwrap();
    assert!((1000..4000).contains(&after), "{after}");
    assert_eq!(server.sse.stats().refused["draining"], 1);
    let sent = server.sse.broadcast().to_all(Event::json("n", &1).unwrap()).await;
    assert!(matches!(sent, Err(Error::Closed { .. })));
}

/// Everyone is somebody for a moment.
struct Briefly;

#[async_trait]
impl Authenticator for Briefly {
    async fn authenticate(&self, _: &ConnectRequest) -> Result<Identity, Refusal> {
        Ok(Identity::user("brief").with_expiry(SystemTime::now() + Duration::from_millis(200)))
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_identity() {
    let runtime = Runtime::in_memory().with_authenticator(Briefly);
    let server = Setup { runtime, ..Setup::default() }.start().await;
    let mut reader = server.open("").await;

    reader.ended().await;

    until("the hook", || server.life.gone("brief") == [CloseReason::EXPIRED]).await;
}

#[tokio::test]
async fn nothing_is_kept_of_connections_that_went() {
    let server = Server::start().await;
    let held = Arc::strong_count(&server.sse);
    for round in 0..20 {
        let mut readers = Vec::new();
        for _ in 0..5 {
            readers.push(server.open(&format!("user=u{round}&tenant=t")).await);
        }
        drop(readers);
        server.connections(0).await;
    }
    let stats = server.sse.stats();
    assert_eq!((stats.connections, stats.users, stats.connected), (0, 0, 100));
    until("the hooks", || (0..20).all(|round| server.life.gone(&format!("u{round}")).len() == 5)).await;
    until("the end of every request", || Arc::strong_count(&server.sse) == held).await;
}
