//! A log with outages, and appends of unknown outcome.

use std::time::Duration;

use crate::support::{AppendFault, CoreProvider, FaultyBackplane, Guest, eventually, foreign, note};
use realtime_core::spi::{Backplane, Position};
use realtime_core::{Error, MemoryBackplane, RealtimeBroadcast, RoomMembership};
use realtime_testkit::conformance::Visitor;
use tokio::time::{Instant, sleep};

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
    let (backplane, provider) = CoreProvider::on_faulty().await;
    provider.lose_log(&backplane).await;
    let ready = || provider.dispatcher.is_ready();
    assert_always("not ready during the outage", Duration::from_secs(30), || !ready()).await;
    backplane.set_up(true);
    eventually("the node is ready again", ready).await;
}

#[tokio::test(start_paused = true)]
async fn node_is_ready_only_after_catching_up() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    provider.send_numbers(0..3).await;
    let other = CoreProvider::on(backplane.clone()).await;
    provider.lose_log(&backplane).await;
    // The log grows without this node.
    let (log, epoch) = (backplane.log(), other.epoch());
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

/// A record that the node reads from the log counts as appended, with any result of the append or
/// none.
#[tokio::test(start_paused = true)]
async fn logged_record_counts_despite_failed_append() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    for fault in [AppendFault::AppliedNoReply, AppendFault::OpenThoughTaken, AppendFault::RefusedThoughTaken] {
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
async fn append_without_an_answer_has_an_unknown_outcome() {
    let (backplane, provider) = CoreProvider::on_faulty().await;
    for (fault, silent) in
        [(AppendFault::Open, false), (AppendFault::OpenThoughTaken, true), (AppendFault::NoReply, false)]
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
