//! A directory that loses what it was told, fails, or does not say what came of it.

use std::time::Duration;

use crate::support::{CoreProvider, FaultyDirectory, Guest, UpdateFault, in_time, runtime};
use realtime_core::spi::Directory;
use realtime_core::{ConnectionId, Drain, Presence, RealtimeProvider};
use realtime_testkit::conformance::{Setup, Visitor};
use tokio::time::{Instant, sleep};

/// A third of the lease: a node tells the directory that often.
const RENEWAL: Duration = Duration::from_secs(10);

/// The providers of one node.
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

async fn ann(provider: &CoreProvider) -> Guest {
    Guest::by_session(provider, Visitor::user("ann").tenant("acme")).await
}

/// Ann's connections, sorted.
async fn online(directory: &FaultyDirectory) -> Vec<Presence> {
    let mut online = directory.of_user("ann").await.unwrap();
    online.sort_by_key(|presence| presence.connection);
    online
}

fn ids(online: &[Presence]) -> Vec<ConnectionId> {
    online.iter().map(|presence| presence.connection).collect()
}

/// Waits until this many connections of ann's are in the directory.
async fn until_online(directory: &FaultyDirectory, count: usize) -> Vec<Presence> {
    let there = async {
        loop {
            let online = online(directory).await;
            if online.len() == count {
                return online;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(&format!("{count} are in the directory"), there).await
}

#[tokio::test(start_paused = true)]
async fn lost_directory_entries_are_restored_unchanged() {
    let (directory, provider) = started().await;
    let gone = ann(&provider).await;
    let _here = [ann(&provider).await, ann(&provider).await];
    until_online(&directory, 3).await;
    drop(gone);
    let before = until_online(&directory, 2).await;
    sleep(Duration::from_secs(3_600)).await;
    for _ in 0..3 {
        directory.lose();
        assert!(online(&directory).await.is_empty());
        let begun = Instant::now();
        assert_eq!(until_online(&directory, 2).await, before, "with the time since when they are here");
        assert!(begun.elapsed() <= RENEWAL + Duration::from_millis(20), "{:?}", begun.elapsed());
    }
    assert_eq!(directory.of_tenant("acme").await.unwrap().len(), 2);
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

/// What a provider that has ended could not take back is taken back by those that stay, which renew the lease.
#[tokio::test(start_paused = true)]
async fn provider_stopped_during_directory_outage_is_removed() {
    let directory = FaultyDirectory::new();
    let [one, two] = node(&directory).await;
    let (_gone, here) = (ann(&one).await, ann(&two).await);
    until_online(&directory, 2).await;
    directory.set_fault(Some(UpdateFault::Away));
    one.shutdown(Drain::now()).await;
    directory.set_fault(None);
    sleep(RENEWAL * 2).await;
    assert_eq!(ids(&online(&directory).await), [here.id]);
    two.shutdown(Drain::now()).await;
    assert!(online(&directory).await.is_empty());
}

/// The entries of a node are dropped when its lease has been over for long.
#[tokio::test(start_paused = true)]
async fn node_restores_all_entries_after_long_outage() {
    let (directory, provider) = started().await;
    let _here = [ann(&provider).await, ann(&provider).await];
    let before = until_online(&directory, 2).await;
    directory.set_fault(Some(UpdateFault::Away));
    for _ in 0..1_000 {
        sleep(Duration::from_secs(1)).await;
        online(&directory).await;
    }
    assert!(online(&directory).await.is_empty());
    directory.set_fault(None);
    assert_eq!(until_online(&directory, 2).await, before);
}

#[tokio::test(start_paused = true)]
async fn entries_are_not_resent_without_a_loss() {
    let (directory, provider) = started().await;
    let mut here = Vec::new();
    for count in 1..=8 {
        here.push(ann(&provider).await);
        until_online(&directory, count).await;
    }
    sleep(RENEWAL * 10).await;
    assert_eq!(directory.most_changes(), 1);
}

/// What is refused may have been taken all the same: the end of a connection that was offered once is told.
#[tokio::test(start_paused = true)]
async fn disconnect_after_ambiguous_update_is_removed() {
    let faults = [
        (UpdateFault::RefusedThoughTaken, UpdateFault::Away),
        (UpdateFault::RefusedThoughTaken, UpdateFault::RefusedThoughTaken),
        (UpdateFault::MuteThoughTaken, UpdateFault::Mute),
    ];
    for (first, then) in faults {
        let directory = FaultyDirectory::new();
        directory.set_fault(Some(first));
        let [provider] = node(&directory).await;
        let gone = ann(&provider).await;
        until_online(&directory, 1).await;
        directory.set_fault(Some(then));
        drop(gone);
        let here = ann(&provider).await;
        sleep(RENEWAL * 3 / 2).await;
        directory.set_fault(None);
        sleep(RENEWAL).await;
        let online = online(&directory).await;
        assert_eq!(ids(&online), [here.id], "{first:?}, then {then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unanswered_update_times_out() {
    let directory = FaultyDirectory::new();
    directory.set_fault(Some(UpdateFault::Mute));
    let [provider] = node(&directory).await;
    let _here = ann(&provider).await;
    sleep(RENEWAL).await;
    directory.set_fault(None);
    until_online(&directory, 1).await;
}

/// Whoever comes and goes while the directory is away costs nothing afterwards, and nothing meanwhile.
#[tokio::test(start_paused = true)]
async fn pending_changes_are_bounded_by_connections() {
    for fault in [UpdateFault::Away, UpdateFault::RefusedThoughTaken, UpdateFault::Mute, UpdateFault::MuteThoughTaken] {
        let (directory, provider) = started().await;
        let told = ann(&provider).await;
        until_online(&directory, 1).await;
        directory.set_fault(Some(fault));
        let here = ann(&provider).await;
        drop(told);
        for n in 0..200 {
            drop(ann(&provider).await);
            sleep(Duration::from_millis(50 * (n % 3))).await;
        }
        sleep(RENEWAL).await;
        directory.set_fault(None);
        sleep(RENEWAL).await;
        let online = online(&directory).await;
        assert_eq!(ids(&online), [here.id], "{fault:?}");
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
    assert!(online(&directory).await.is_empty());
    assert!(directory.of_user("bob").await.unwrap().is_empty());
}
