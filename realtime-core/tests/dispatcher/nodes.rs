//! Two nodes that share one backplane.

use std::sync::Arc;

use crate::support::{CoreProvider, Guest, eventually, note, runtime, until_online};
use realtime_core::spi::{CursorSecret, Position};
use realtime_core::{
    CloseReason, MemoryBackplane, MemoryDirectory, OnlineCount, OnlineIn, RealtimeBroadcast, RealtimeProvider,
    RoomMembership, Target,
};
use realtime_testkit::conformance::{Setup, Visitor};

pub(crate) async fn two_nodes() -> (CoreProvider, CoreProvider) {
    let backplane = MemoryBackplane::default();
    let directory = Arc::new(MemoryDirectory::new());
    let runtime = || runtime().with_backplane(backplane.clone()).with_directory(Arc::clone(&directory));
    let node = || CoreProvider::attached(Setup::default(), runtime());
    (node().await, node().await)
}

/// Waits until both nodes have applied this position.
async fn both_at(nodes: [&CoreProvider; 2], position: Position) {
    eventually("both nodes have caught up", || nodes.iter().all(|node| node.dispatcher.hub().applied() >= position))
        .await;
}

#[tokio::test]
async fn sends_reach_other_node_in_one_order() {
    let (one, two) = two_nodes().await;
    let mut local = Guest::by_sink(&one, Visitor::user("ann").with_tenant("acme")).await;
    let mut remote = Guest::by_sink(&two, Visitor::user("ann").with_tenant("acme").with_room("r")).await;
    let mut sent = Vec::new();
    for n in 0..100 {
        let node = if n % 2 == 0 { &one } else { &two };
        let target = match n % 5 {
            0 => Target::all(),
            1 => Target::tenant("acme"),
            2 => Target::user_in("acme", "ann"),
            3 => Target::all().except_user("bob"),
            _ => Target::user("ann"),
        };
        let receipt = node.dispatcher.send(target, note(&n.to_string())).await.unwrap();
        assert_eq!(receipt.delivered.unwrap().matched, 1, "a receipt counts its own node");
        sent.push(n.to_string());
    }
    two.dispatcher.send(Target::all().except_connection(local.id), note("not here")).await.unwrap();
    one.dispatcher.send(Target::room("r"), note("room")).await.unwrap();
    assert_eq!(local.texts(&one).await, sent);
    sent.extend(["not here".to_owned(), "room".to_owned()]);
    assert_eq!(remote.texts_until("end").await, sent);
}

#[tokio::test]
async fn joins_and_leaves_apply_at_every_node() {
    let (one, two) = two_nodes().await;
    let mut remote = Guest::by_sink(&two, Visitor::user("ann")).await;
    one.dispatcher.join_room("ann", "r").await.unwrap();
    assert_eq!(one.dispatcher.user_rooms("ann").await.unwrap(), ["r"]);
    one.dispatcher.to_room("r", note("1")).await.unwrap();
    let mut later = Guest::by_sink(&one, Visitor::user("ann")).await;
    two.dispatcher.to_room("r", note("2")).await.unwrap();
    two.dispatcher.leave_room("ann", "r").await.unwrap();
    one.dispatcher.to_room("r", note("too late?")).await.unwrap();
    assert_eq!(remote.texts(&two).await, ["1", "2"]);
    assert_eq!(later.texts_until("end").await, ["2"]);
    assert!(one.dispatcher.user_rooms("ann").await.unwrap().is_empty());
}

#[tokio::test]
async fn node_knows_rooms_that_were_joined_before_its_log_begins() {
    let backplane = MemoryBackplane::new(2);
    let one = CoreProvider::full(Setup::default());
    one.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    one.dispatcher.join_room("ann", "r").await.unwrap();
    one.dispatcher.join_room("ann", "left").await.unwrap();
    one.dispatcher.leave_room("ann", "left").await.unwrap();
    one.dispatcher.join_room_in("acme", "ann", "q").await.unwrap();
    one.dispatcher.leave_room_in("other", "ann", "r").await.unwrap();
    for n in 0..5 {
        one.dispatcher.to_all(note(&n.to_string())).await.unwrap();
    }
    let two = CoreProvider::full(Setup::default());
    two.attach(runtime().with_backplane(backplane)).await.unwrap();
    let mut acme = Guest::by_sink(&two, Visitor::user("ann").with_tenant("acme")).await;
    let mut other = Guest::by_sink(&two, Visitor::user("ann").with_tenant("other")).await;
    for room in ["r", "left", "q"] {
        two.dispatcher.to_room(room, note(room)).await.unwrap();
    }
    two.dispatcher.to_all(note("end")).await.unwrap();
    assert_eq!(acme.texts_until("end").await, ["r", "q"]);
    assert!(other.texts_until("end").await.is_empty());
    assert_eq!(two.dispatcher.user_rooms_in("acme", "ann").await.unwrap(), ["q", "r"]);
}

#[tokio::test]
async fn volatile_and_direct_events_and_closes_reach_other_node() {
    let (one, two) = two_nodes().await;
    let mut remote = Guest::by_session(&two, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&two, Visitor::user("bob")).await;
    let mark = one.dispatcher.to_all(note("live")).await.unwrap().position.unwrap();
    both_at([&one, &two], mark).await;
    for guest in [&mut remote, &mut other] {
        assert!(guest.texts_until("live").await.is_empty());
    }
    one.dispatcher.to_user("ann", note("fleeting").as_volatile()).await.unwrap();
    assert_eq!(remote.next().await.payload, "fleeting");
    one.dispatcher.send(Target::connection(remote.id), note("for one")).await.unwrap();
    assert_eq!(remote.next().await.payload, "for one");
    let closed = one.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    assert_eq!(closed, 1, "of the other node");
    assert_eq!(remote.closed().await.code, Some(4000));
    assert!(other.texts(&one).await.is_empty());
}

#[tokio::test]
async fn client_resumes_at_another_node() {
    let (one, two) = two_nodes().await;
    let mut guest = Guest::by_sink(&one, Visitor::user("ann").with_room("r")).await;
    one.dispatcher.to_user("ann", note("1")).await.unwrap();
    assert_eq!(guest.next().await.payload, "1");
    let cursor = guest.cursor.clone();
    drop(guest);
    one.dispatcher.to_room("r", note("2")).await.unwrap();
    let mark = two.dispatcher.to_user("ann", note("3")).await.unwrap().position.unwrap();
    both_at([&one, &two], mark).await;
    let mut guest = Guest::by_sink(&two, Visitor::user("ann").with_room("r").with_cursor(&cursor)).await;
    assert_eq!(guest.welcome["resumed"], true);
    assert_eq!(guest.texts(&one).await, ["2", "3"]);
}

#[tokio::test]
async fn node_that_starts_later_knows_rooms_and_window() {
    let backplane = MemoryBackplane::default();
    let one = CoreProvider::on(backplane.clone()).await;
    let guest = Guest::by_sink(&one, Visitor::user("ann")).await;
    let cursor = guest.cursor.clone();
    one.dispatcher.join_room("ann", "r").await.unwrap();
    one.dispatcher.to_room("r", note("1")).await.unwrap();
    let two = CoreProvider::on(backplane).await;
    assert_eq!(two.dispatcher.user_rooms("ann").await.unwrap(), ["r"]);
    let mut resumed = Guest::by_sink(&two, Visitor::user("ann").with_cursor(&cursor)).await;
    let mut new = Guest::by_sink(&two, Visitor::user("ann")).await;
    one.dispatcher.to_room("r", note("2")).await.unwrap();
    assert_eq!(resumed.texts(&one).await, ["1", "2"]);
    assert_eq!(new.texts_until("end").await, ["2"]);
}

#[tokio::test]
async fn directory_lists_connections_of_both_nodes() {
    let (one, two) = two_nodes().await;
    let local = Guest::by_sink(&one, Visitor::user("ann").with_tenant("acme")).await;
    let remote = Guest::by_sink(&two, Visitor::user("ann").with_tenant("globex")).await;
    let directory = Arc::clone(one.dispatcher.runtime().unwrap().tracker.directory());
    until_online(&*directory, 2).await;
    let node = |provider: &CoreProvider| provider.dispatcher.runtime().unwrap().log.node().id;
    let online = directory.of_user("ann").await.unwrap();
    for (guest, tenant, node) in [(&local, "acme", node(&one)), (&remote, "globex", node(&two))] {
        let entry = online.iter().find(|entry| entry.connection == guest.id).unwrap();
        assert_eq!((entry.tenant.as_deref(), entry.node, &*entry.provider), (Some(tenant), node, "core"));
        let tenant = OnlineIn::Tenant(tenant.to_owned());
        assert_eq!(directory.count(&tenant).await.unwrap(), OnlineCount::new(1, 1));
    }
    drop(local);
    until_online(&*directory, 1).await;
    assert_eq!(directory.of_user("ann").await.unwrap()[0].connection, remote.id);
    drop(remote);
    until_online(&*directory, 0).await;
}

/// The leave ends the connection's own membership as well as the user's.
#[tokio::test]
async fn leave_at_one_node_applies_to_connections_at_another() {
    let (one, two) = two_nodes().await;
    let mut remote = Guest::by_sink(&two, Visitor::user("ann").with_room("r")).await;
    let mut other = Guest::by_sink(&two, Visitor::user("bob").with_room("r")).await;
    one.dispatcher.to_room("r", note("1")).await.unwrap();
    let left = one.dispatcher.runtime().unwrap().log.leave_room("ann", None, "r").await.unwrap();
    both_at([&one, &two], left.position.unwrap()).await;
    one.dispatcher.to_room("r", note("2")).await.unwrap();
    assert_eq!(remote.texts(&one).await, ["1"]);
    assert_eq!(other.texts_until("end").await, ["1", "2"]);
}

#[tokio::test]
async fn cursors_of_the_applications_secret_are_valid_with_it_only() {
    let backplane = MemoryBackplane::default();
    let node = |secret: Option<&str>| {
        let mut runtime = runtime().with_backplane(backplane.clone());
        runtime.cursor_secret = secret.map(|secret| CursorSecret::new(secret).unwrap());
        CoreProvider::attached(Setup::default(), runtime)
    };
    let secrets = [Some("one secret of the application"), None, Some("another secret of the application")];
    let nodes = [node(secrets[0]).await, node(secrets[1]).await, node(secrets[2]).await, node(secrets[0]).await];
    let mut ann = Guest::by_sink(&nodes[0], Visitor::user("ann")).await;
    let mark = nodes[0].dispatcher.to_user("ann", note("1")).await.unwrap().position.unwrap();
    assert_eq!(ann.next().await.payload, "1");
    for (node, expected) in nodes.iter().zip(["resumed", "invalid", "invalid", "resumed"]) {
        both_at([&nodes[0], node], mark).await;
        let guest = Guest::by_sink(node, Visitor::user("ann").with_cursor(&ann.cursor)).await;
        assert_eq!(guest.welcome["reason"], expected);
    }
}
