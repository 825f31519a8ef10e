//! A log that was replaced or rolled back: the nodes begin a new epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Client, CoreProvider, FaultyBackplane, Guest, eventually, expected, foreign, in_time, note, outcome,
};
use realtime_core::spi::{Backplane, Position};
use realtime_core::{AckStatus, CloseReason, Error, MemoryBackplane, RealtimeBroadcast, SocketIoBroadcast};
use realtime_testkit::conformance::{ClientUnderTest, Visitor};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// The log is replaced by an empty one, and no tail is notified.
#[tokio::test(start_paused = true)]
async fn silently_replaced_log_is_noticed_by_periodic_check() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.send_numbers(0..5).await;
    assert_eq!(guest.texts_until("4").await.len(), 4);
    let old = provider.epoch();
    backplane.exchange(MemoryBackplane::default());
    let start = Instant::now();
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    assert!(start.elapsed() <= Duration::from_millis(1_500), "{:?}", start.elapsed());
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    assert_ne!(provider.epoch(), old);
    assert_eq!(outcome(&provider, &guest.cursor).await, expected(false, "epoch"));
    provider.send_numbers(5..6).await;
}

/// A send that finds another log does not wait for the next check.
#[tokio::test(start_paused = true)]
async fn append_to_earlier_epoch_fails_and_triggers_a_check() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    provider.send_numbers(0..1).await;
    backplane.exchange(MemoryBackplane::default());
    let start = Instant::now();
    let sent = provider.dispatcher.to_all(note("to the old one")).await;
    assert!(matches!(sent, Err(Error::Backplane(_))), "{sent:?}");
    let sending = async {
        while provider.dispatcher.to_all(note("to the new one")).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    in_time("a send", sending).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rolled_back_log_gets_new_epoch() {
    // With a failed tail, and without any sign.
    for tail_fails in [true, false] {
        let (backplane, provider) = CoreProvider::on_faulty().await;
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        provider.send_numbers(0..10).await;
        assert_eq!(guest.texts_until("9").await.len(), 9);
        let old = provider.epoch();
        if tail_fails {
            provider.lose_log(&backplane).await;
        }
        backplane.roll_back(Position::new(5)).await;
        assert_eq!(backplane.state().await.unwrap().epoch, old, "the log has not noticed");
        backplane.set_up(true);
        assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
        eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
        assert_ne!(provider.epoch(), old);
        // The new log grows beyond the client's position.
        provider.send_numbers(10..30).await;
        assert_eq!(outcome(&provider, &guest.cursor).await, expected(false, "epoch"), "tail fails: {tail_fails}");
    }
}

/// Between two checks the log is rolled back and grows beyond the node's applied position.
#[tokio::test(start_paused = true)]
async fn rolled_back_and_refilled_log_gets_new_epoch() {
    for kept in [0, 2, 9] {
        for more in [0, 1, 20] {
            let (backplane, provider) = CoreProvider::on_faulty().await;
            provider.send_numbers(0..10).await;
            let cursor = Guest::by_sink(&provider, Visitor::user("ann")).await.cursor;
            let old = provider.epoch();
            backplane.set_silent(true);
            backplane.roll_back(Position::new(kept)).await;
            for _ in kept..10 + more {
                backplane.append(old, foreign(), None).await.unwrap();
            }
            // The result does not depend on a failure of the tail.
            provider.lose_log(&backplane).await;
            backplane.set_silent(false);
            provider.regain_log(&backplane).await;
            assert_ne!(provider.epoch(), old, "{kept} kept, {more} more");
            assert_eq!(outcome(&provider, &cursor).await, expected(false, "epoch"), "{kept} kept, {more} more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_nodes_agree_on_one_new_epoch() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let nodes = [
        CoreProvider::on(backplane.clone()).await,
        CoreProvider::on(backplane.clone()).await,
        CoreProvider::on(backplane.clone()).await,
    ];
    nodes[0].send_numbers(0..10).await;
    eventually("all nodes have caught up", || nodes.iter().all(|node| node.dispatcher.hub().applied().get() == 10))
        .await;
    let old = nodes[0].epoch();
    backplane.roll_back(Position::new(5)).await;
    eventually("all nodes are in the new epoch", || nodes.iter().all(|node| node.epoch() != old)).await;
    sleep(Duration::from_secs(5)).await;
    let epoch = backplane.state().await.unwrap().epoch;
    assert!(nodes.iter().all(|node| node.epoch() == epoch), "one epoch that no longer changes");
    eventually("all nodes are ready", || nodes.iter().all(|node| node.dispatcher.is_ready())).await;
}

/// A check has no effect while no record is lost, with any number of sends in between and a log
/// that keeps few records.
#[tokio::test(start_paused = true)]
async fn checks_of_intact_log_keep_its_epoch() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(3));
    let provider = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let old = provider.epoch();
    for round in 0..20 {
        let sent = round % 7;
        provider.send_numbers(0..sent).await;
        sleep(Duration::from_millis(430)).await;
    }
    provider.dispatcher.to_all(note("end")).await.unwrap();
    guest.texts_until("end").await;
    assert_eq!(provider.epoch(), old);
    assert!(provider.dispatcher.is_ready());
}

/// A subscriber that runs a function after a connection gets its ID and before it is in the hub.
struct Between(Arc<dyn Fn() + Send + Sync>);

impl tracing::Subscriber for Between {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "connection"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        (self.0)();
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The epoch changes during a registration: the connection belongs to one epoch or the other, and
/// is closed in the earlier one or gets events in the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_across_epoch_change_is_live_or_closed() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    provider.send_numbers(0..10).await;
    let old = provider.epoch();
    let cursor = Guest::by_sink(&provider, Visitor::user("ann")).await.cursor;
    let admitted = provider.admit(Visitor::user("ann").with_cursor(&cursor)).await.unwrap();
    let held = Arc::new(AtomicBool::new(false));
    let subscriber = Between({
        let (provider, backplane, held) = (provider.clone(), backplane.clone(), Arc::clone(&held));
        Arc::new(move || {
            backplane.exchange(MemoryBackplane::default());
            let start = std::time::Instant::now();
            while provider.epoch() == old && start.elapsed() < crate::support::DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
            held.store(true, Ordering::SeqCst);
        })
    });
    // With only one subscriber, `tracing` caches the interest of the thread that reaches a callsite
    // first, which may be a thread of another test without a subscriber.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let mut client = tokio::task::block_in_place(|| {
        tracing::subscriber::with_default(subscriber, || Client::by_sink(&provider.dispatcher, admitted))
    });
    assert!(held.load(Ordering::SeqCst), "the connection has a span");
    let welcome = in_time("the connected event", client.next()).await.unwrap();
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    assert_ne!(provider.epoch(), old);
    let receipt = provider.dispatcher.to_user("ann", note("new")).await.unwrap();
    if receipt.delivered.unwrap().queued == 0 {
        // The connection is of the earlier epoch, and is closed.
        while in_time("the close", client.next()).await.is_ok() {}
        return;
    }
    assert_eq!(in_time("the event", client.next()).await.unwrap().payload, "new", "after {welcome:?}");
    assert_eq!(welcome.payload["reason"], "epoch");
}

/// Asks are numbered by their position, and positions repeat in a new epoch: an ask of the earlier
/// epoch does not affect one of the new epoch.
#[tokio::test(start_paused = true)]
async fn ask_of_earlier_epoch_leaves_same_numbered_ask_alone() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    provider.send_numbers(0..2).await;
    let old = provider.epoch();
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    let time = Duration::from_secs(60);
    let mut before = provider.dispatcher.to_user_with_ack("ann", note("old?"), time).await.unwrap();
    let number = ann.next().await.ack;
    // Ann reads nothing more, so that her connection stays open.
    backplane.roll_back(Position::new(2)).await;
    eventually("the node is in the new epoch", || provider.epoch() != old && provider.dispatcher.is_ready()).await;
    let mut bob = Guest::by_session(&provider, Visitor::user("bob")).await;
    let after = provider.dispatcher.to_user_with_ack("bob", note("new?"), time).await.unwrap();
    let ask = bob.next().await;
    assert_eq!(ask.ack, number, "of the same position");
    let start = Instant::now();
    assert_eq!(before.next().await.unwrap().status, AckStatus::Gone, "ann is disconnected");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(before);
    bob.client.answer(ask.ack.unwrap(), &json!("yes")).await;
    let replies = after.all().await;
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [AckStatus::Answered]);
}
