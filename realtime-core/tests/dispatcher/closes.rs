//! Closes of connections at all nodes, which go through the log.

use std::sync::Arc;

use crate::nodes::two_nodes;
use crate::support::{CoreProvider, Guest, eventually, note};
use realtime_core::spi::{Position, SessionOutlet};
use realtime_core::{CloseReason, Error, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, Target};
use realtime_testkit::conformance::Visitor;
use realtime_testkit::{AppendFault, FaultyBackplane};

const KICKED: Option<u16> = Some(4000);

async fn flood(node: &CoreProvider) {
    for _ in 0..20_000 {
        node.dispatcher.to_user("nobody", note("fleeting").as_volatile()).await.unwrap();
    }
}

#[tokio::test]
async fn close_reaches_node_with_lagging_pipe() {
    let (one, two) = two_nodes().await;
    let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
    flood(&one).await;
    assert_eq!(one.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 1);
    flood(&one).await;
    assert_eq!(remote.closed().await.code, KICKED);
}

#[tokio::test]
async fn close_counts_all_nodes_and_spares_new_connections() {
    let (one, two) = two_nodes().await;
    let mut local = Guest::by_session(&one, Visitor::user("ann")).await;
    let mut remote =
        [Guest::by_session(&two, Visitor::user("ann")).await, Guest::by_session(&two, Visitor::user("ann")).await];
    let mut other = Guest::by_session(&two, Visitor::user("bob")).await;
    assert_eq!(one.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 3);
    let mut later = vec![Guest::by_session(&one, Visitor::user("ann")).await];
    assert_eq!(local.closed().await.code, KICKED);
    for guest in &mut remote {
        assert_eq!(guest.closed().await.code, KICKED);
    }
    later.push(Guest::by_session(&two, Visitor::user("ann")).await);
    let end = one.dispatcher.to_all(note("end")).await.unwrap().position.unwrap();
    assert_eq!(end, Position::new(2), "a close is one record");
    for guest in later.iter_mut().chain([&mut other]) {
        assert!(guest.texts_until("end").await.is_empty());
    }
    assert_eq!(two.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 2);
    for guest in &mut later {
        assert_eq!(guest.closed().await.code, KICKED);
    }
}

#[tokio::test]
async fn close_of_user_spares_same_name_in_other_tenant() {
    let (one, two) = two_nodes().await;
    let mut acme = Guest::by_session(&two, Visitor::user("ann").with_tenant("acme")).await;
    let mut globex = Guest::by_session(&two, Visitor::user("ann").with_tenant("globex")).await;
    one.close(Target::user_in("acme", "ann"), CloseReason::KICKED).await.unwrap();
    assert_eq!(acme.closed().await.code, KICKED);
    assert!(globex.texts(&one).await.is_empty());
}

#[tokio::test]
async fn close_is_applied_after_log_outage() {
    let log = MemoryBackplane::default();
    let faulty = FaultyBackplane::new(log.clone());
    let (one, two) = (CoreProvider::on(log).await, CoreProvider::on(faulty.clone()).await);
    let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
    two.lose_log(&faulty).await;
    one.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    faulty.set_up(true);
    assert_eq!(remote.closed().await.code, KICKED);
}

#[tokio::test(start_paused = true)]
async fn close_without_log_acts_locally_and_returns_error() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let one = CoreProvider::on(backplane.clone()).await;
    let mut local = Guest::by_session(&one, Visitor::user("ann")).await;
    backplane.set_fault(Some(AppendFault::NoReply));
    let closed = one.close(Target::user("ann"), CloseReason::KICKED).await;
    assert!(matches!(closed, Err(Error::OutcomeUnknown { .. })), "{closed:?}");
    assert_eq!(local.closed().await.code, KICKED);
    backplane.set_fault(None);
    let mut local = Guest::by_session(&one, Visitor::user("ann")).await;
    backplane.set_up(false);
    let closed = one.close(Target::user("ann"), CloseReason::KICKED).await;
    assert!(matches!(closed, Err(Error::Backplane(_))), "{closed:?}");
    assert_eq!(local.closed().await.code, KICKED);
}

#[tokio::test]
async fn close_logged_before_registration_does_not_apply() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let one = CoreProvider::on(backplane.clone()).await;
    one.dispatcher.to_all(note("old")).await.unwrap();
    let admitted = one.admit(Visitor::user("ann")).await.unwrap();
    let other = MemoryBackplane::default();
    let two = CoreProvider::on(other.clone()).await;
    two.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    backplane.set_silent(true);
    backplane.exchange(other);
    eventually("the node is in the new epoch", || one.dispatcher.hub().applied() == Position::START).await;
    // After the epoch change and before the first record.
    let registration = one.dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
    backplane.set_silent(false);
    eventually("the window is filled", || one.dispatcher.hub().applied() == Position::new(1)).await;
    assert_eq!(registration.close_reason(), None);
    two.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    eventually("a later close applies", || registration.close_reason() == Some(CloseReason::KICKED)).await;
}
