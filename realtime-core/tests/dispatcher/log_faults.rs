//! A log with outages, rollbacks and appends of unknown outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{AppendFault, CoreProvider, FaultyBackplane, Guest, eventually, foreign, in_time, note};
use realtime_core::spi::{Backplane, Cursor, Epoch, Position};
use realtime_core::{
    AckStatus, CloseReason, Drain, Error, MemoryBackplane, OutboxConfig, RealtimeBroadcast, RealtimeProvider,
    RefusalKind, RoomMembership, SocketIoBroadcast, Target, WindowConfig,
};
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};
use serde_json::json;
use tokio::time::{Instant, sleep};

async fn started() -> (FaultyBackplane, CoreProvider) {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(backplane.clone()).await;
    (backplane, provider)
}

fn epoch_of(provider: &CoreProvider) -> Epoch {
    provider.dispatcher.cursor(Position::START).epoch()
}

/// Returns whether a client with this cursor resumes, and the reason in its `connected` event.
async fn outcome(provider: &CoreProvider, cursor: &str) -> (bool, String) {
    let guest = Guest::by_sink(provider, Visitor::user("ann").with_cursor(cursor)).await;
    (guest.welcome["resumed"] == json!(true), guest.welcome["reason"].as_str().unwrap().to_owned())
}

fn expected(resumed: bool, reason: &str) -> (bool, String) {
    (resumed, reason.to_owned())
}

/// Checks a condition repeatedly for the duration `time`.
async fn assert_always(what: &str, time: Duration, holds: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds(), "{what}");
        sleep(Duration::from_millis(7)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn node_is_never_ready_during_log_outage() {
    let (backplane, provider) = started().await;
    provider.lose_log(&backplane).await;
    let ready = || provider.dispatcher.is_ready();
    assert_always("not ready during the outage", Duration::from_secs(30), || !ready()).await;
    backplane.set_up(true);
    eventually("the node is ready again", ready).await;
}

#[tokio::test(start_paused = true)]
async fn node_is_ready_only_after_catching_up() {
    let (backplane, provider) = started().await;
    provider.send_numbers(0..3).await;
    let other = CoreProvider::on(backplane.clone()).await;
    provider.lose_log(&backplane).await;
    // The log grows without this node.
    let (log, epoch) = (backplane.log(), epoch_of(&other));
    for _ in 0..1_000 {
        log.append(epoch, foreign(), None).await.unwrap();
    }
    backplane.set_silent(true);
    backplane.set_up(true);
    let ready = || provider.dispatcher.is_ready();
    assert_always("not ready while a thousand records behind", Duration::from_secs(10), || !ready()).await;
    backplane.set_silent(false);
    eventually("the node is ready again", ready).await;
    assert_eq!(provider.dispatcher.hub().applied(), Position::new(1_003));
}

/// Returns a node that is on the same log as another one and reads nothing, and the cursor of a
/// client of that other one.
async fn slow_node() -> (FaultyBackplane, CoreProvider, String) {
    let (backplane, provider) = started().await;
    let slow = FaultyBackplane::new(backplane.log());
    let node = CoreProvider::on(slow.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    slow.set_silent(true);
    provider.send_numbers(0..3).await;
    assert_eq!(guest.texts_until("2").await.len(), 2);
    assert_eq!(node.dispatcher.hub().applied(), Position::START);
    (slow, node, guest.cursor)
}

#[tokio::test(start_paused = true)]
async fn client_ahead_of_a_slow_node_waits_and_resumes() {
    let (slow, node, cursor) = slow_node().await;
    let catching_up = async {
        sleep(Duration::from_secs(1)).await;
        slow.set_silent(false);
    };
    let (outcome, ()) = tokio::join!(outcome(&node, &cursor), catching_up);
    assert_eq!(outcome, expected(true, "resumed"));
}

#[tokio::test(start_paused = true)]
async fn client_ahead_of_a_stuck_node_is_refused_and_not_told_epoch() {
    let (_slow, node, cursor) = slow_node().await;
    let refused = in_time("a refusal", node.admit(Visitor::user("ann").with_cursor(&cursor))).await.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Unavailable);
    assert!(refused.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn cursor_beyond_the_end_of_the_log_is_told_at_once() {
    let (slow, node, cursor) = slow_node().await;
    slow.roll_back(Position::new(1)).await;
    let start = Instant::now();
    assert_eq!(outcome(&node, &cursor).await, expected(false, "epoch"));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// The log is replaced by an empty one, and no tail is notified.
#[tokio::test(start_paused = true)]
async fn silently_replaced_log_is_noticed_by_periodic_check() {
    let (backplane, provider) = started().await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.send_numbers(0..5).await;
    assert_eq!(guest.texts_until("4").await.len(), 4);
    let old = epoch_of(&provider);
    backplane.exchange(MemoryBackplane::default());
    let start = Instant::now();
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    assert!(start.elapsed() <= Duration::from_millis(1_500), "{:?}", start.elapsed());
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    assert_ne!(epoch_of(&provider), old);
    assert_eq!(outcome(&provider, &guest.cursor).await, expected(false, "epoch"));
    provider.send_numbers(5..6).await;
}

/// A send that finds another log does not wait for the next check.
#[tokio::test(start_paused = true)]
async fn append_to_earlier_epoch_fails_and_triggers_a_check() {
    let (backplane, provider) = started().await;
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
        let (backplane, provider) = started().await;
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        provider.send_numbers(0..10).await;
        assert_eq!(guest.texts_until("9").await.len(), 9);
        let old = epoch_of(&provider);
        if tail_fails {
            provider.lose_log(&backplane).await;
        }
        backplane.roll_back(Position::new(5)).await;
        assert_eq!(backplane.state().await.unwrap().epoch, old, "the log has not noticed");
        backplane.set_up(true);
        assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
        eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
        assert_ne!(epoch_of(&provider), old);
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
            let (backplane, provider) = started().await;
            provider.send_numbers(0..10).await;
            let cursor = Guest::by_sink(&provider, Visitor::user("ann")).await.cursor;
            let old = epoch_of(&provider);
            backplane.set_silent(true);
            backplane.roll_back(Position::new(kept)).await;
            for _ in kept..10 + more {
                backplane.append(old, foreign(), None).await.unwrap();
            }
            // The result does not depend on a failure of the tail.
            provider.lose_log(&backplane).await;
            backplane.set_silent(false);
            provider.regain_log(&backplane).await;
            assert_ne!(epoch_of(&provider), old, "{kept} kept, {more} more");
            assert_eq!(outcome(&provider, &cursor).await, expected(false, "epoch"), "{kept} kept, {more} more");
        }
    }
}

/// No node is left that knows the earlier records: the cursors themselves reveal the rollback.
#[tokio::test(start_paused = true)]
async fn cursors_reveal_rollback_after_restart_of_all_nodes() {
    let (backplane, old) = started().await;
    let mut guest = Guest::by_sink(&old, Visitor::user("ann")).await;
    let mut cursors = vec![guest.cursor.clone()];
    for n in 0..10 {
        old.send_numbers(n..n + 1).await;
        guest.next().await;
        cursors.push(guest.cursor.clone());
    }
    let epoch = epoch_of(&old);
    old.shutdown(Drain::now()).await;
    backplane.roll_back(Position::new(4)).await;
    let new = CoreProvider::on(backplane.clone()).await;
    assert_eq!(epoch_of(&new), epoch, "the rollback is unnoticed");
    for (at, cursor) in cursors.iter().enumerate() {
        let expected = if at <= 4 { expected(true, "resumed") } else { expected(false, "epoch") };
        assert_eq!(outcome(&new, cursor).await, expected, "{at} before the next send");
    }
    new.send_numbers(10..15).await;
    for (at, cursor) in cursors.iter().enumerate() {
        let expected = if at <= 4 { expected(true, "resumed") } else { expected(false, "epoch") };
        assert_eq!(outcome(&new, cursor).await, expected, "{at} after the next sends");
    }
    let mut resumed = Guest::by_sink(&new, Visitor::user("ann").with_cursor(&cursors[3])).await;
    assert_eq!(resumed.texts(&new).await, ["3", "10", "11", "12", "13", "14"]);
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
    let old = epoch_of(&nodes[0]);
    backplane.roll_back(Position::new(5)).await;
    eventually("all nodes are in the new epoch", || nodes.iter().all(|node| epoch_of(node) != old)).await;
    sleep(Duration::from_secs(5)).await;
    let epoch = backplane.state().await.unwrap().epoch;
    assert!(nodes.iter().all(|node| epoch_of(node) == epoch), "one epoch that no longer changes");
    eventually("all nodes are ready", || nodes.iter().all(|node| node.dispatcher.is_ready())).await;
}

/// A check has no effect while no record is lost, with any number of sends in between and a log
/// that keeps few records.
#[tokio::test(start_paused = true)]
async fn checks_of_intact_log_keep_its_epoch() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(3));
    let provider = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let old = epoch_of(&provider);
    for round in 0..20 {
        let sent = round % 7;
        provider.send_numbers(0..sent).await;
        sleep(Duration::from_millis(430)).await;
    }
    provider.dispatcher.to_all(note("end")).await.unwrap();
    guest.texts_until("end").await;
    assert_eq!(epoch_of(&provider), old);
    assert!(provider.dispatcher.is_ready());
}

/// The position before the oldest kept record has no record to verify it: a client cannot resume
/// there.
#[tokio::test(start_paused = true)]
async fn cursor_of_record_unseen_by_node_is_expired() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(3));
    let one = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_sink(&one, Visitor::user("ann")).await;
    let mut cursors = vec![guest.cursor.clone()];
    for n in 0..10 {
        one.send_numbers(n..n + 1).await;
        guest.next().await;
        cursors.push(guest.cursor.clone());
    }
    let two = CoreProvider::on(backplane.clone()).await;
    let reasons = [(6, expected(false, "expired")), (7, expected(false, "expired")), (8, expected(true, "resumed"))];
    for (at, expected) in reasons {
        assert_eq!(outcome(&two, &cursors[at]).await, expected, "{at}");
    }
    let mut resumed = Guest::by_sink(&two, Visitor::user("ann").with_cursor(&cursors[8])).await;
    assert_eq!(resumed.texts(&two).await, ["8", "9"]);
}

/// A client cannot resume where `lost` begins, but can where it ends.
#[tokio::test(start_paused = true)]
async fn lost_event_from_is_expired_and_until_resumes() {
    let setup = Setup::default()
        .with_window(WindowConfig::default().with_records(5))
        .with_outbox(OutboxConfig::default().with_frames(2));
    let provider = CoreProvider::started(setup).await;
    let admitted = provider.admit(Visitor::user("ann")).await.unwrap();
    let mut client = crate::support::Client::by_session(&provider.dispatcher, admitted);
    let welcome = in_time("the connected event", client.next()).await.unwrap();
    assert_eq!(welcome.name, "connected");
    // Sent without a pause, so that the client is far behind when it reads.
    let mut sends: Vec<_> =
        (0..40).map(|n| Box::pin(provider.dispatcher.send(Target::all(), note(&n.to_string())))).collect();
    for sent in futures_util::future::join_all(sends.drain(..)).await {
        sent.unwrap();
    }
    let lost = loop {
        let received = in_time("the lost event", client.next()).await.unwrap();
        if received.name == "lost" {
            break received;
        }
    };
    let bound = |field: &str| lost.payload[field].as_str().unwrap().to_owned();
    assert_eq!(outcome(&provider, &bound("from")).await, expected(false, "expired"));
    let until = bound("until");
    assert_eq!(lost.cursor.as_deref(), Some(&*until));
    // The oldest quarter of five records is one.
    assert_eq!(until.parse::<Cursor>().unwrap().position(), provider.dispatcher.window().start().next());
    assert_eq!(outcome(&provider, &until).await, expected(true, "resumed"));
}

/// A record that the node reads from the log counts as appended, with any result of the append or
/// none.
#[tokio::test(start_paused = true)]
async fn logged_record_counts_despite_failed_append() {
    let (backplane, provider) = started().await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    for fault in [AppendFault::MuteThoughTaken, AppendFault::OpenThoughTaken, AppendFault::RefusedThoughTaken] {
        backplane.set_fault(Some(fault));
        let receipt = provider.dispatcher.to_user("ann", note("sent")).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(receipt.delivered.unwrap().matched, 1, "{fault:?}");
        provider.dispatcher.join_room("ann", "r").await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(guest.next().await.payload, "sent");
    }
}

/// The record may or may not be in the log.
#[tokio::test(start_paused = true)]
async fn append_with_open_result_is_unknown_outcome() {
    let (backplane, provider) = started().await;
    for (fault, silent) in
        [(AppendFault::Open, false), (AppendFault::OpenThoughTaken, true), (AppendFault::Mute, false)]
    {
        backplane.set_fault(Some(fault));
        backplane.set_silent(silent);
        let sent = provider.dispatcher.to_all(note("?")).await;
        assert!(matches!(sent, Err(Error::OutcomeUnknown { .. })), "{fault:?}: {sent:?}");
    }
    backplane.set_fault(None);
    backplane.set_silent(false);
    backplane.set_up(false);
    let sent = provider.dispatcher.to_all(note("no")).await;
    assert!(matches!(sent, Err(Error::Backplane(_))), "certain: {sent:?}");
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
    let (backplane, provider) = started().await;
    provider.send_numbers(0..10).await;
    let old = epoch_of(&provider);
    let cursor = Guest::by_sink(&provider, Visitor::user("ann")).await.cursor;
    let admitted = provider.admit(Visitor::user("ann").with_cursor(&cursor)).await.unwrap();
    let held = Arc::new(AtomicBool::new(false));
    let subscriber = Between({
        let (provider, backplane, held) = (provider.clone(), backplane.clone(), Arc::clone(&held));
        Arc::new(move || {
            backplane.exchange(MemoryBackplane::default());
            let start = std::time::Instant::now();
            while epoch_of(&provider) == old && start.elapsed() < crate::support::DEADLINE {
                std::thread::sleep(Duration::from_millis(1));
            }
            held.store(true, Ordering::SeqCst);
        })
    });
    // With only one subscriber, `tracing` caches the interest of the thread that reaches a callsite
    // first, which may be a thread of another test without a subscriber.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let mut client = tokio::task::block_in_place(|| {
        tracing::subscriber::with_default(subscriber, || {
            crate::support::Client::by_sink(&provider.dispatcher, admitted)
        })
    });
    assert!(held.load(Ordering::SeqCst), "the connection has a span");
    let welcome = in_time("the connected event", client.next()).await.unwrap();
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    assert_ne!(epoch_of(&provider), old);
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
    let (backplane, provider) = started().await;
    provider.send_numbers(0..2).await;
    let old = epoch_of(&provider);
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    let time = Duration::from_secs(60);
    let mut before = provider.dispatcher.to_user_with_ack("ann", note("old?"), time).await.unwrap();
    let number = ann.next().await.ack;
    // Ann reads nothing more, so that her connection stays open.
    backplane.roll_back(Position::new(2)).await;
    eventually("the node is in the new epoch", || epoch_of(&provider) != old && provider.dispatcher.is_ready()).await;
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

#[tokio::test(start_paused = true)]
async fn log_that_can_only_be_read_makes_a_node_not_ready() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(backplane.clone()).await;
    let log = &provider.dispatcher.runtime().unwrap().log;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(log.health().ready && log.health().probe.is_some());
    backplane.set_fault(Some(AppendFault::Refused));
    let start = tokio::time::Instant::now();
    eventually("the node is not ready", || !provider.dispatcher.is_ready()).await;
    assert!(start.elapsed() <= Duration::from_secs(3), "{:?}", start.elapsed());
    let health = log.health();
    assert!(!health.ready && health.probe.is_none() && health.error.unwrap().contains("cannot be written"));
    let refused = provider.dispatcher.to_all(note("refused")).await;
    assert!(matches!(refused, Err(Error::Backplane(_))), "{refused:?}");
    let mut late = Guest::by_session(&provider, Visitor::user("bob")).await;
    backplane.set_fault(None);
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    provider.dispatcher.to_all(note("1")).await.unwrap();
    for guest in [&mut ann, &mut late] {
        assert!(guest.texts_until("1").await.is_empty());
    }
}
