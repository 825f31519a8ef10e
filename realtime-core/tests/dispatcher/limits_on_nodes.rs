//! Limits of a user's connections over several nodes.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CoreProvider, Guest, runtime, until_online};
use realtime_core::spi::Runtime;
use realtime_core::{Limits, MemoryBackplane, MemoryDirectory, RealtimeProvider, RefusalKind};
use realtime_testkit::conformance::{Setup, Visitor};
use realtime_testkit::{FaultyDirectory, UpdateFault};
use tokio::time::sleep;

/// Starts two nodes on which a user may have this many connections in all.
async fn two_nodes(most: usize) -> (CoreProvider, CoreProvider, FaultyDirectory) {
    let backplane = MemoryBackplane::default();
    let directory = FaultyDirectory::of(Arc::new(MemoryDirectory::new()));
    let limits = Limits::default().with_connections_per_user(most);
    let runtime = || -> Runtime { runtime().with_backplane(backplane.clone()).with_directory(directory.clone()) };
    let node = || CoreProvider::attached(Setup::default().with_limits(limits), runtime());
    let nodes = (node().await, node().await);
    // Until each knows the other one.
    sleep(Duration::from_secs(5)).await;
    (nodes.0, nodes.1, directory)
}

#[tokio::test(start_paused = true)]
async fn connections_at_all_nodes_count_against_the_users_limit() {
    let (one, two, directory) = two_nodes(2).await;
    let first = Guest::by_session(&one, Visitor::user("ann")).await;
    let _second = Guest::by_session(&one, Visitor::user("ann")).await;
    until_online(&directory, 2).await;
    let refusal = two.admit(Visitor::user("ann")).await.expect_err("a refusal");
    assert_eq!(refusal.kind(), RefusalKind::UserLimit);
    assert_eq!(refusal.setting(), Some("limits.connections_per_user"));
    for other in [Visitor::user("ann").with_tenant("acme"), Visitor::user("bob")] {
        assert!(two.admit(other).await.is_ok(), "another user");
    }
    drop(first);
    until_online(&directory, 1).await;
    let admitted = two.admit(Visitor::user("ann")).await;
    assert!(admitted.is_ok(), "a slot is free");
    assert_eq!(two.admit(Visitor::user("ann")).await.err().unwrap().kind(), RefusalKind::UserLimit);
    drop(admitted);
    assert!(two.admit(Visitor::user("ann")).await.is_ok(), "a refused client keeps no slot");
}

#[tokio::test(start_paused = true)]
async fn each_node_counts_its_own_while_the_directory_is_away() {
    let (one, two, directory) = two_nodes(1).await;
    let _first = Guest::by_session(&one, Visitor::user("ann")).await;
    until_online(&directory, 1).await;
    assert!(two.admit(Visitor::user("ann")).await.is_err());
    directory.set_fault(Some(UpdateFault::Away));
    directory.lose();
    assert!(two.admit(Visitor::user("ann")).await.is_ok());
    one.shutdown(realtime_core::Drain::now()).await;
}
