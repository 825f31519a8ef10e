//! Users that are disconnected for longer than the window: their rooms end, and their clients are
//! notified when they reconnect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, Guest, eventually, foreign, note, read_log, runtime};
use async_trait::async_trait;
use realtime_core::spi::{Backplane, Directory, DirectoryChange, Incarnation};
use realtime_core::{
    CloseReason, MemoryBackplane, MemoryDirectory, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence,
    RealtimeBroadcast, RealtimeProvider, Result, RoomMembership, WindowConfig,
};
use realtime_testkit::conformance::{Setup, Visitor};
use realtime_testkit::{AppendFault, FaultyBackplane};
use serde_json::json;

const AGE: Duration = Duration::from_millis(500);

fn setup() -> Setup {
    Setup::default().with_window(WindowConfig::default().with_age(AGE))
}

/// Starts two nodes that share a log, and a directory if `shares_directory` is set.
async fn two_nodes(backplane: &MemoryBackplane, shares_directory: bool) -> [CoreProvider; 2] {
    let directory = Arc::new(MemoryDirectory::new());
    let node = || {
        let runtime = runtime().with_backplane(backplane.clone());
        let runtime = if shares_directory { runtime.with_directory(Arc::clone(&directory)) } else { runtime };
        CoreProvider::attached(setup(), runtime)
    };
    [node().await, node().await]
}

/// Returns the number of records that ended rooms because of absence.
async fn absence_records(backplane: &MemoryBackplane) -> usize {
    count(backplane, "absent").await
}

/// Returns the number of records of a kind.
async fn count(backplane: &MemoryBackplane, kind: &str) -> usize {
    read_log(backplane).await.iter().filter(|record| record.kind.get(kind).is_some()).count()
}

/// Waits until the log has a record of a kind.
async fn eventually_in_log(backplane: &MemoryBackplane, kind: &str) {
    while count(backplane, kind).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn is_member(provider: &CoreProvider) -> bool {
    !provider.dispatcher.user_rooms("ann").await.unwrap().is_empty()
}

/// Returns the reason in the `connected` event.
fn reason(guest: &Guest) -> &str {
    guest.welcome["reason"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn absent_user_of_quiet_log_gets_expired_on_reconnect() {
    let provider = CoreProvider::started(setup()).await;
    let rooms = &provider.dispatcher;
    let mut ann = Guest::by_sink(&provider, Visitor::user("ann")).await;
    rooms.join_room("ann", "team").await.unwrap();
    provider.dispatcher.to_user("ann", note("mark")).await.unwrap();
    assert!(ann.texts_until("mark").await.is_empty());
    let cursor = ann.cursor.clone();
    drop(ann);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(rooms.user_rooms("ann").await.unwrap().is_empty());
    provider.dispatcher.to_room("team", note("missed")).await.unwrap();
    let ann = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!((&ann.welcome["resumed"], &ann.welcome["reason"]), (&json!(false), &json!("expired")));
}

#[tokio::test(start_paused = true)]
async fn short_disconnect_after_long_silence_resumes() {
    let provider = CoreProvider::started(setup()).await;
    let mut ann = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.join_room("ann", "team").await.unwrap();
    provider.dispatcher.to_user("ann", note("mark")).await.unwrap();
    assert!(ann.texts_until("mark").await.is_empty());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let cursor = ann.cursor.clone();
    drop(ann);
    tokio::time::sleep(AGE / 2).await;
    provider.dispatcher.to_room("team", note("1")).await.unwrap();
    let mut ann = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!((&ann.welcome["resumed"], &ann.welcome["reason"]), (&json!(true), &json!("resumed")));
    assert_eq!(ann.texts(&provider).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn user_that_never_connects_loses_its_rooms() {
    let backplane = MemoryBackplane::default();
    let [one, two] = two_nodes(&backplane, true).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    tokio::time::sleep(AGE).await;
    assert!(is_member(&one).await && is_member(&two).await);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!is_member(&one).await && !is_member(&two).await);
    tokio::time::sleep(AGE * 20).await;
    assert_eq!(absence_records(&backplane).await, 1, "written once, by the node of the join");
}

#[tokio::test(start_paused = true)]
async fn user_connected_to_another_node_keeps_its_rooms() {
    let backplane = MemoryBackplane::default();
    let [one, two] = two_nodes(&backplane, true).await;
    drop(Guest::by_session(&one, Visitor::user("ann")).await);
    let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_member(&one).await && is_member(&two).await);
    one.dispatcher.to_room("team", note("1")).await.unwrap();
    assert_eq!(remote.texts(&one).await, ["1"]);
    drop(remote);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!is_member(&one).await && !is_member(&two).await);
    // Both nodes may notice at the same time; the second record then ends nothing.
    assert!((1..=2).contains(&absence_records(&backplane).await));
}

#[tokio::test(start_paused = true)]
async fn connected_user_is_disconnected_when_its_rooms_end() {
    let log = MemoryBackplane::default();
    let faulty = FaultyBackplane::new(log.clone());
    // With separate directories the node that ends the rooms does not know that the user is
    // connected to the other one, which cannot answer.
    let one = CoreProvider::attached(setup(), runtime().with_backplane(log)).await;
    let two = CoreProvider::attached(setup(), runtime().with_backplane(faulty.clone())).await;
    faulty.set_fault(Some(AppendFault::NoReply));
    one.dispatcher.join_room("ann", "team").await.unwrap();
    let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&two, Visitor::user("bob")).await;
    one.dispatcher.to_room("team", note("1")).await.unwrap();
    assert!(remote.texts_until("1").await.is_empty());
    assert_eq!(remote.closed().await.code, Some(CloseReason::RESTART.code()));
    assert!(!is_member(&two).await);
    let resumed = Guest::by_session(&two, Visitor::user("ann").with_cursor(&remote.cursor)).await;
    assert_eq!(reason(&resumed), "expired");
    one.dispatcher.to_user("bob", note("2")).await.unwrap();
    assert!(other.texts_until("2").await.is_empty(), "other users are not affected");
}

#[tokio::test(start_paused = true)]
async fn user_whom_the_directory_does_not_know_keeps_its_rooms() {
    let backplane = MemoryBackplane::default();
    let [one, two] = two_nodes(&backplane, false).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    one.dispatcher.join_room_in("acme", "bob", "team").await.unwrap();
    let mut ann = Guest::by_session(&two, Visitor::user("ann").with_tenant("acme")).await;
    let mut bob = Guest::by_session(&two, Visitor::user("bob").with_tenant("acme")).await;
    tokio::time::sleep(AGE * 40).await;
    assert!(count(&backplane, "check").await > 1, "the first node asks again and again");
    assert_eq!(absence_records(&backplane).await, 0);
    one.dispatcher.to_room("team", note("1")).await.unwrap();
    assert!(ann.texts_until("1").await.is_empty() && bob.texts_until("1").await.is_empty());
    drop((ann, bob));
    tokio::time::sleep(AGE * 20).await;
    assert!(!is_member(&one).await && !is_member(&two).await);
}

#[tokio::test(start_paused = true)]
async fn user_who_connects_after_the_question_keeps_its_rooms() {
    let backplane = MemoryBackplane::default();
    let [one, two] = two_nodes(&backplane, false).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    eventually_in_log(&backplane, "check").await;
    let mut ann = Guest::by_session(&two, Visitor::user("ann")).await;
    eventually_in_log(&backplane, "present").await;
    tokio::time::sleep(AGE * 20).await;
    assert_eq!(absence_records(&backplane).await, 0);
    two.dispatcher.to_room("team", note("1")).await.unwrap();
    assert!(ann.texts_until("1").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn absence_begins_when_the_user_leaves_the_last_node() {
    let (backplane, directory) = (MemoryBackplane::default(), Arc::new(MemoryDirectory::new()));
    let (age, second) = (Duration::from_secs(60), Duration::from_secs(1));
    let node = || {
        let setup = Setup::default().with_window(WindowConfig::default().with_age(age));
        CoreProvider::attached(
            setup,
            runtime().with_backplane(backplane.clone()).with_directory(Arc::clone(&directory)),
        )
    };
    let [one, two] = [node().await, node().await];
    // As the first node knows it, the user is absent from now on.
    one.dispatcher.join_room("ann", "team").await.unwrap();
    tokio::time::sleep(age - second * 4).await;
    let ann = Guest::by_session(&two, Visitor::user("ann")).await;
    tokio::time::sleep(second).await;
    drop(ann);
    tokio::time::sleep(age - second).await;
    assert!(count(&backplane, "check").await > 0 && is_member(&one).await && is_member(&two).await);
    tokio::time::sleep(second * 20).await;
    assert!(!is_member(&one).await && !is_member(&two).await);
}

#[tokio::test(start_paused = true)]
async fn outage_counts_for_no_absence() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let age = Duration::from_secs(60);
    let setup = Setup::default().with_window(WindowConfig::default().with_age(age));
    let provider = CoreProvider::attached(setup, runtime().with_backplane(backplane.clone())).await;
    provider.dispatcher.join_room("ann", "team").await.unwrap();
    tokio::time::sleep(age / 2).await;
    provider.lose_log(&backplane).await;
    tokio::time::sleep(age * 3).await;
    provider.regain_log(&backplane).await;
    tokio::time::sleep(age - Duration::from_secs(2)).await;
    assert!(is_member(&provider).await, "its time begins when it can connect again");
    tokio::time::sleep(age * 4).await;
    assert!(!is_member(&provider).await);
}

#[tokio::test(start_paused = true)]
async fn node_that_has_not_read_the_log_ends_no_rooms() {
    let log = MemoryBackplane::default();
    let backplane = FaultyBackplane::new(log.clone());
    let age = Duration::from_secs(60);
    let setup = Setup::default().with_window(WindowConfig::default().with_age(age));
    let provider = CoreProvider::attached(setup, runtime().with_backplane(backplane.clone())).await;
    provider.dispatcher.join_room("ann", "team").await.unwrap();
    provider.lose_log(&backplane).await;
    let epoch = log.state().await.unwrap().epoch;
    log.append(epoch, foreign(), None).await.unwrap();
    backplane.set_silent(true);
    backplane.set_up(true);
    tokio::time::sleep(age * 2).await;
    assert_eq!(count(&log, "check").await + absence_records(&log).await, 0);
    backplane.set_silent(false);
    tokio::time::sleep(age - Duration::from_secs(2)).await;
    assert!(is_member(&provider).await);
    tokio::time::sleep(age).await;
    assert!(!is_member(&provider).await);
}

#[tokio::test(start_paused = true)]
async fn rooms_joined_at_stopped_node_end_at_another_node() {
    let backplane = MemoryBackplane::default();
    let [one, two] = two_nodes(&backplane, true).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    one.shutdown(realtime_core::Drain::now()).await;
    tokio::time::sleep(AGE * 2).await;
    assert!(is_member(&two).await);
    tokio::time::sleep(AGE * 3).await;
    assert!(!is_member(&two).await);
}

#[tokio::test(start_paused = true)]
async fn absence_record_is_retried_after_log_outage() {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::attached(setup(), runtime().with_backplane(backplane.clone())).await;
    provider.dispatcher.join_room("ann", "team").await.unwrap();
    backplane.set_up(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_member(&provider).await, "no end without a record");
    backplane.set_up(true);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(!is_member(&provider).await);
}

#[tokio::test(start_paused = true)]
async fn absence_is_counted_per_tenant() {
    let provider = CoreProvider::started(setup()).await;
    let rooms = &provider.dispatcher;
    let acme = Guest::by_session(&provider, Visitor::user("ann").with_tenant("acme")).await;
    let mut globex = Guest::by_session(&provider, Visitor::user("ann").with_tenant("globex")).await;
    rooms.join_room("ann", "all").await.unwrap();
    rooms.join_room_in("acme", "ann", "board").await.unwrap();
    rooms.join_room_in("globex", "ann", "board").await.unwrap();
    rooms.to_all(note("mark")).await.unwrap();
    assert!(globex.texts_until("mark").await.is_empty());
    let cursor = globex.cursor.clone();
    drop(acme);
    tokio::time::sleep(Duration::from_millis(1_800)).await;
    assert_eq!(
        rooms.user_rooms_in("acme", "ann").await.unwrap(),
        ["all"],
        "only the tenant's own membership has ended"
    );
    assert_eq!(rooms.user_rooms_in("globex", "ann").await.unwrap(), ["all", "board"]);
    let acme = Guest::by_session(&provider, Visitor::user("ann").with_tenant("acme").with_cursor(&cursor)).await;
    assert_eq!(reason(&acme), "expired");
    let again = Guest::by_session(&provider, Visitor::user("ann").with_tenant("globex").with_cursor(&cursor)).await;
    assert_eq!(reason(&again), "resumed", "the other tenant's user has lost no room");
    drop((acme, globex, again));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(rooms.user_rooms("ann").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn earlier_absence_record_does_not_end_new_join() {
    let provider = CoreProvider::started(setup()).await;
    provider.dispatcher.join_room("ann", "old").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert!(!is_member(&provider).await);
    let mut ann = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.dispatcher.join_room("ann", "new").await.unwrap();
    provider.dispatcher.to_room("new", note("1")).await.unwrap();
    assert!(ann.texts_until("1").await.is_empty());
    let cursor = ann.cursor.clone();
    drop(ann);
    tokio::time::sleep(AGE / 2).await;
    assert_eq!(reason(&Guest::by_session(&provider, Visitor::user("ann").with_cursor(&cursor)).await), "resumed");
    eventually("the absence is forgotten with its record", || provider.stats().window_records == 0).await;
}

#[tokio::test]
async fn leave_within_log_gap_applies_after_reconnect() {
    let log = MemoryBackplane::new(3);
    let faulty = FaultyBackplane::new(log.clone());
    let (one, two) = (CoreProvider::on(log).await, CoreProvider::on(faulty.clone()).await);
    one.dispatcher.join_room("ann", "r").await.unwrap();
    let mut ann = Guest::by_session(&two, Visitor::user("ann")).await;
    eventually("the user is joined", || two.stats().rooms == 1).await;
    two.lose_log(&faulty).await;
    one.dispatcher.leave_room("ann", "r").await.unwrap();
    one.send_numbers(0..10).await;
    two.regain_log(&faulty).await;
    let cursor = ann.cursor.clone();
    assert_eq!(ann.closed().await.code, Some(CloseReason::RESTART.code()));
    let mut ann = Guest::by_session(&two, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!((&ann.welcome["resumed"], &ann.welcome["reason"]), (&json!(false), &json!("expired")));
    one.dispatcher.to_room("r", note("secret")).await.unwrap();
    assert!(ann.texts(&one).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn later_joins_do_not_extend_absent_users_rooms() {
    let provider = CoreProvider::started(setup()).await;
    let rooms = &provider.dispatcher;
    for tenant in [None, Some("acme")] {
        let join = async |room: &str| match tenant {
            None => rooms.join_room("ann", room).await.unwrap(),
            Some(tenant) => rooms.join_room_in(tenant, "ann", room).await.unwrap(),
        };
        join("first").await;
        for _ in 0..10 {
            tokio::time::sleep(AGE / 2).await;
            join("another").await;
        }
        assert!(!rooms.user_rooms("ann").await.unwrap().contains(&"first".to_owned()), "{tenant:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_joined_user_twice_ends_its_rooms_first() {
    let provider = CoreProvider::started(setup()).await;
    for room in ["team", "board"] {
        provider.dispatcher.join_room("ann", room).await.unwrap();
    }
    // Nodes without a join of the user wait for three times the age.
    tokio::time::sleep(AGE * 5 / 2).await;
    assert!(!is_member(&provider).await);
}

#[tokio::test(start_paused = true)]
async fn absent_users_rooms_end_in_batches_of_a_hundred() {
    let backplane = MemoryBackplane::default();
    let provider = CoreProvider::attached(setup(), runtime().with_backplane(backplane.clone())).await;
    for n in 0..250 {
        provider.dispatcher.join_room(&n.to_string(), "team").await.unwrap();
    }
    for expected in [0, 100, 200, 250, 250] {
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(absence_records(&backplane).await, expected);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A directory that counts the queries for a user.
#[derive(Default)]
struct Counting(MemoryDirectory, AtomicUsize);

#[async_trait]
impl Directory for Counting {
    async fn update(&self, node: &NodeInfo, changes: &[DirectoryChange], lease: Duration) -> Result<Incarnation> {
        self.0.update(node, changes, lease).await
    }

    async fn of_user(&self, user: &str) -> Result<Vec<Presence>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.of_user(user).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.0.nodes().await
    }

    async fn users(&self, online: &OnlineIn, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        self.0.users(online, after, most).await
    }

    async fn count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        self.0.count(online).await
    }
}

#[tokio::test(start_paused = true)]
async fn directory_is_queried_once_per_window_age() {
    let backplane = MemoryBackplane::default();
    let directory = Arc::new(Counting::default());
    let age = Duration::from_secs(20);
    let window = WindowConfig::default().with_age(age);
    let node = || {
        let runtime = runtime().with_backplane(backplane.clone()).with_directory(Arc::clone(&directory));
        CoreProvider::attached(Setup::default().with_window(window), runtime)
    };
    let (one, two) = (node().await, node().await);
    let _remote = Guest::by_session(&two, Visitor::user("ann")).await;
    one.dispatcher.join_room("ann", "team").await.unwrap();
    let ages = 10;
    tokio::time::sleep(age * ages).await;
    let queries = directory.1.load(Ordering::SeqCst);
    assert!((1..=ages as usize).contains(&queries), "{queries} queries in {ages} ages of the window");
    assert!(is_member(&one).await);
}

#[tokio::test(start_paused = true)]
async fn user_connected_to_another_provider_is_not_absent() {
    let backplane = MemoryBackplane::default();
    let runtime = runtime().with_backplane(backplane.clone());
    let one = CoreProvider::attached(setup(), runtime.clone()).await;
    let two = CoreProvider::attached(setup(), runtime).await;
    let (local, remote) =
        (Guest::by_sink(&one, Visitor::user("ann")).await, Guest::by_sink(&two, Visitor::user("ann")).await);
    one.dispatcher.runtime().unwrap().log.join_room("ann", None, "team").await.unwrap();
    drop(local);
    tokio::time::sleep(AGE * 20).await;
    assert!(is_member(&one).await && is_member(&two).await);
    assert_eq!(absence_records(&backplane).await, 0);
    drop(remote);
    tokio::time::sleep(AGE * 20).await;
    assert!(!is_member(&one).await && !is_member(&two).await);
}
