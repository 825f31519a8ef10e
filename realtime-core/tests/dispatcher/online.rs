//! Tests of the users who are online in all, in a tenant and in a room, over two nodes.

use std::time::Duration;

use crate::nodes::two_nodes;
use crate::support::{CoreProvider, Guest};
use realtime_core::spi::Log;
use realtime_core::{Inbound, OnlineIn, OnlineUser, RoomMembership};
use realtime_testkit::conformance::Visitor;
use tokio::time::{Instant, sleep};

fn log(node: &CoreProvider) -> &Log {
    &node.dispatcher.runtime().unwrap().log
}

fn room(name: &str) -> OnlineIn {
    OnlineIn::Room(name.to_owned())
}

async fn users(log: &Log, online: &OnlineIn, page: usize) -> Vec<String> {
    let mut users: Vec<OnlineUser> = Vec::new();
    loop {
        let next = log.online_users(online, users.last().cloned(), page).await.unwrap();
        if next.is_empty() {
            return users.iter().map(|user| [&user.user, user.tenant.as_deref().unwrap_or("")].join("@")).collect();
        }
        users.extend(next);
    }
}

/// Waits until both nodes return these users, in pages of any size.
async fn until_online_are(nodes: [&CoreProvider; 2], online: OnlineIn, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    for node in nodes {
        while users(log(node), &online, 2).await != expected {
            assert!(Instant::now() < deadline, "expected {expected:?}, got {:?}", users(log(node), &online, 2).await);
            sleep(Duration::from_millis(20)).await;
        }
        for page in [1, 500] {
            assert_eq!(users(log(node), &online, page).await, expected, "pages of {page}");
        }
        assert_eq!(log(node).online_count(&online).await.unwrap().users, expected.len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn room_has_its_joined_users_and_those_who_entered_it() {
    let (one, two) = two_nodes().await;
    let of_tenant = |user: &str, tenant: &str| Visitor::user(user).with_tenant(tenant);
    let _guests = [
        Guest::by_session(&one, of_tenant("ann", "acme").with_room("r")).await,
        Guest::by_session(&two, of_tenant("ann", "globex")).await,
        Guest::by_session(&two, Visitor::user("ann")).await,
        Guest::by_session(&two, of_tenant("bob", "acme")).await,
        Guest::by_session(&one, Visitor::user("cid")).await,
        Guest::by_session(&one, Visitor::anonymous().with_room("r")).await,
    ];
    let rooms = &one.dispatcher;
    let nodes = [&one, &two];
    until_online_are(nodes, room("r"), &["ann@acme"]).await;
    rooms.join_room_in("acme", "bob", "r").await.unwrap();
    rooms.join_room("offline", "r").await.unwrap();
    until_online_are(nodes, room("r"), &["ann@acme", "bob@acme"]).await;
    rooms.join_room("ann", "r").await.unwrap();
    until_online_are(nodes, room("r"), &["ann@", "ann@acme", "ann@globex", "bob@acme"]).await;
    rooms.leave_room_in("globex", "ann", "r").await.unwrap();
    until_online_are(nodes, room("r"), &["ann@", "ann@acme", "bob@acme"]).await;
    until_online_are(nodes, OnlineIn::Tenant("acme".to_owned()), &["ann@acme", "bob@acme"]).await;
    let everyone = ["ann@", "ann@acme", "ann@globex", "bob@acme", "cid@"];
    until_online_are(nodes, OnlineIn::Everywhere, &everyone).await;
}

#[tokio::test(start_paused = true)]
async fn rooms_entered_and_left_by_connections_are_in_the_directory() {
    let (one, two) = two_nodes().await;
    let ann = one.register(Visitor::user("ann")).await;
    let nodes = [&one, &two];
    until_online_are(nodes, room("r"), &[]).await;
    for _ in 0..2 {
        assert!(ann.receive(Inbound::new("subscribe", r#""r""#)));
        until_online_are(nodes, room("r"), &["ann@"]).await;
        assert!(ann.receive(Inbound::new("unsubscribe", r#""r""#)));
        until_online_are(nodes, room("r"), &[]).await;
    }
    assert!(ann.receive(Inbound::new("subscribe", r#""r""#)));
    until_online_are(nodes, room("r"), &["ann@"]).await;
    drop(ann);
    until_online_are(nodes, room("r"), &[]).await;
}
