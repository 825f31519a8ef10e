//! A directory that loses entries, fails, or does not answer.

use std::time::Duration;

use crate::support::{CoreProvider, FaultyDirectory, Guest, UpdateFault, runtime, until_online};
use realtime_core::spi::Directory;
use realtime_core::{ConnectionId, Drain, OnlineIn, Presence, RealtimeProvider};
use realtime_testkit::conformance::{Setup, Visitor};
use tokio::time::{Instant, sleep};

/// The interval at which a node renews its lease, a third of the lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// Starts one node with `N` providers.
async fn node<const N: usize>(directory: &FaultyDirectory) -> [CoreProvider; N] {
    let runtime = runtime().with_directory(directory.clone());
    let providers = std::array::from_fn(|_| CoreProvider::full(Setup::default()));
    for provider in &providers {
        provider.attach(runtime.clone()).await.unwrap();
    }
    providers
}

async fn started() -> (FaultyDirectory, CoreProvider) {
    let directory = FaultyDirectory::new();
    let [provider] = node(&directory).await;
    (directory, provider)
}

/// Connects ann of acme.
async fn ann(provider: &CoreProvider) -> Guest {
    Guest::by_session(provider, Visitor::user("ann").with_tenant("acme")).await
}

/// Returns ann's connections, sorted.
async fn entries(directory: &FaultyDirectory) -> Vec<Presence> {
    let mut entries = directory.of_user("ann").await.unwrap();
    entries.sort_by_key(|presence| presence.connection);
    entries
}

fn ids(entries: &[Presence]) -> Vec<ConnectionId> {
    entries.iter().map(|presence| presence.connection).collect()
}

#[tokio::test(start_paused = true)]
async fn lost_directory_entries_are_restored_unchanged() {
    let (directory, provider) = started().await;
    let disconnected = ann(&provider).await;
    let _connections = [ann(&provider).await, ann(&provider).await];
    until_online(&directory, 3).await;
    drop(disconnected);
    let before = until_online(&directory, 2).await;
    sleep(Duration::from_secs(3_600)).await;
    for _ in 0..3 {
        directory.lose();
        assert!(entries(&directory).await.is_empty());
        let start = Instant::now();
        assert_eq!(until_online(&directory, 2).await, before, "with the time of the connect");
        assert!(start.elapsed() <= RENEWAL + Duration::from_millis(20), "{:?}", start.elapsed());
    }
    let acme = OnlineIn::Tenant("acme".to_owned());
    assert_eq!(directory.count(&acme).await.unwrap().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn new_connection_restores_lost_entries_of_all_providers() {
    let directory = FaultyDirectory::new();
    let [one, two] = node(&directory).await;
    let (_one, _two) = (ann(&one).await, ann(&two).await);
    until_online(&directory, 2).await;
    directory.lose();
    let lost = Instant::now();
    let _third = ann(&one).await;
    until_online(&directory, 3).await;
    assert!(lost.elapsed() < RENEWAL / 2, "{:?}", lost.elapsed());
}

#[tokio::test(start_paused = true)]
async fn lease_is_renewed_once_for_all_providers_of_a_node() {
    let directory = FaultyDirectory::new();
    let _providers: [_; 3] = node(&directory).await;
    sleep(Duration::from_millis(10)).await;
    let before = directory.updates();
    sleep(RENEWAL * 10).await;
    assert_eq!(directory.updates() - before, 10);
}

/// The node's other providers, which renew the lease, remove the entries that the stopped provider
/// could not remove.
#[tokio::test(start_paused = true)]
async fn provider_stopped_during_directory_outage_is_removed() {
    let directory = FaultyDirectory::new();
    let [one, two] = node(&directory).await;
    let (_removed, remaining) = (ann(&one).await, ann(&two).await);
    until_online(&directory, 2).await;
    directory.set_fault(Some(UpdateFault::Away));
    one.shutdown(Drain::now()).await;
    directory.set_fault(None);
    sleep(RENEWAL * 2).await;
    assert_eq!(ids(&entries(&directory).await), [remaining.id]);
    two.shutdown(Drain::now()).await;
    assert!(entries(&directory).await.is_empty());
}

/// The directory drops the entries of a node some time after its lease has expired.
#[tokio::test(start_paused = true)]
async fn node_restores_all_entries_after_long_outage() {
    let (directory, provider) = started().await;
    let _connections = [ann(&provider).await, ann(&provider).await];
    let before = until_online(&directory, 2).await;
    directory.set_fault(Some(UpdateFault::Away));
    for _ in 0..1_000 {
        sleep(Duration::from_secs(1)).await;
        entries(&directory).await;
    }
    assert!(entries(&directory).await.is_empty());
    directory.set_fault(None);
    assert_eq!(until_online(&directory, 2).await, before);
}

#[tokio::test(start_paused = true)]
async fn entries_are_not_resent_without_a_loss() {
    let (directory, provider) = started().await;
    let mut connections = Vec::new();
    for count in 1..=8 {
        connections.push(ann(&provider).await);
        until_online(&directory, count).await;
    }
    sleep(RENEWAL * 10).await;
    assert_eq!(directory.most_changes(), 1);
}

/// A rejected update may have been applied: the removal of a connection that was in one is sent.
#[tokio::test(start_paused = true)]
async fn disconnect_after_ambiguous_update_is_removed() {
    let faults = [
        (UpdateFault::RefusedThoughTaken, UpdateFault::Away),
        (UpdateFault::RefusedThoughTaken, UpdateFault::RefusedThoughTaken),
        (UpdateFault::AppliedNoReply, UpdateFault::NoReply),
    ];
    for (first, then) in faults {
        let directory = FaultyDirectory::new();
        directory.set_fault(Some(first));
        let [provider] = node(&directory).await;
        let disconnected = ann(&provider).await;
        until_online(&directory, 1).await;
        directory.set_fault(Some(then));
        drop(disconnected);
        let connected = ann(&provider).await;
        sleep(RENEWAL * 3 / 2).await;
        directory.set_fault(None);
        sleep(RENEWAL).await;
        let entries = entries(&directory).await;
        assert_eq!(ids(&entries), [connected.id], "{first:?}, then {then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unanswered_update_times_out() {
    let directory = FaultyDirectory::new();
    directory.set_fault(Some(UpdateFault::NoReply));
    let [provider] = node(&directory).await;
    let _connections = ann(&provider).await;
    sleep(RENEWAL).await;
    directory.set_fault(None);
    until_online(&directory, 1).await;
}

/// Connections that open and close during an outage leave no pending changes.
#[tokio::test(start_paused = true)]
async fn pending_changes_are_bounded_by_connections() {
    for fault in [UpdateFault::Away, UpdateFault::RefusedThoughTaken, UpdateFault::NoReply, UpdateFault::AppliedNoReply]
    {
        let (directory, provider) = started().await;
        let known = ann(&provider).await;
        until_online(&directory, 1).await;
        directory.set_fault(Some(fault));
        let connected = ann(&provider).await;
        drop(known);
        for n in 0..200 {
            drop(ann(&provider).await);
            sleep(Duration::from_millis(50 * (n % 3))).await;
        }
        sleep(RENEWAL).await;
        directory.set_fault(None);
        sleep(RENEWAL).await;
        let entries = entries(&directory).await;
        assert_eq!(ids(&entries), [connected.id], "{fault:?}");
        assert!(directory.most_changes() < 20, "{fault:?}: {}", directory.most_changes());
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_during_update_sends_remaining_changes() {
    let (directory, provider) = started().await;
    let guest = ann(&provider).await;
    until_online(&directory, 1).await;
    directory.set_fault(Some(UpdateFault::Slow(Duration::from_millis(300))));
    let other = Guest::by_session(&provider, Visitor::user("bob")).await;
    sleep(Duration::from_millis(100)).await;
    drop((guest, other));
    provider.shutdown(Drain::now()).await;
    assert!(entries(&directory).await.is_empty());
    assert!(directory.of_user("bob").await.unwrap().is_empty());
}
