use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Directory;

/// A directory as the suite uses it.
#[async_trait]
pub trait DirectoryUnderTest: Send + Sync + Sized + 'static {
    /// Creates a directory without entries.
    async fn start() -> Self;

    /// Returns the directory of one node; every call is another node on the same entries.
    async fn node(&self) -> Arc<dyn Directory>;

    /// Loses the entries of all nodes, as a restart of their store does.
    async fn lose(&self);
}

/// Defines a `#[test]` for every test of the directory suite, in a module `conformance`, for a
/// [`DirectoryUnderTest`].
#[macro_export]
macro_rules! directory_conformance {
    ($directory:ty) => {
        $crate::conformance_tests! { $directory; in directory:
            changes_are_applied_in_order,
            concurrent_updates_are_all_applied,
            entries_are_found_by_user,
            entries_expire_with_the_lease,
            entries_of_a_renewed_lease_stay,
            entries_of_nodes_are_separate,
            incarnation_changes_after_a_loss,
            incarnation_is_kept_without_entries,
            incarnation_kept_past_the_lease_keeps_its_entries,
            nodes_are_those_with_a_lease,
            online_users_are_counted_and_paged,
            repeated_changes_have_no_effect,
            replaced_entry_is_in_its_new_rooms_only,
        }
    };
}

/// The directory suite: one function for each test.
pub mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use futures_util::future::join_all;
    use realtime_core::spi::DirectoryChange::{Offline, Online};
    use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
    use realtime_core::{ConnectionId, NodeId, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence};

    use super::DirectoryUnderTest;
    use crate::{DEADLINE, in_time};

    /// A lease longer than a test.
    const LONG: Duration = Duration::from_secs(120);
    const SHORT: Duration = Duration::from_secs(1);

    fn presence(user: &str, tenant: Option<&str>) -> Presence {
        // An hour ago, in whole milliseconds, because a directory need not store finer times.
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis() - 3_600_000);
        let mut presence =
            Presence::new(NodeId::random(), ConnectionId::random(), "conformance", since).with_user(user);
        presence.tenant = tenant.map(str::to_owned);
        presence
    }

    fn unix_millis() -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        u64::try_from(now.as_millis()).expect("a clock before the year 584,556,019")
    }

    async fn update(
        directory: &Arc<dyn Directory>,
        node: NodeId,
        changes: &[DirectoryChange],
        lease: Duration,
    ) -> Incarnation {
        let node = NodeInfo::new(node);
        in_time("an update", directory.update(&node, changes, lease)).await.expect("the update is applied")
    }

    fn sorted(mut presences: Vec<Presence>) -> Vec<Presence> {
        presences.sort_by_key(|presence| presence.connection);
        presences
    }

    async fn of_user(directory: &Arc<dyn Directory>, user: &str) -> Vec<Presence> {
        sorted(in_time("a user's connections", directory.of_user(user)).await.expect("the connections can be read"))
    }

    fn tenant(name: &str) -> OnlineIn {
        OnlineIn::Tenant(name.to_owned())
    }

    fn room(name: &str) -> OnlineIn {
        OnlineIn::Room(name.to_owned())
    }

    /// Returns the users who are online, read in pages of this size, as `user@tenant`.
    async fn users(directory: &Arc<dyn Directory>, online: &OnlineIn, page: usize) -> Vec<String> {
        let mut users: Vec<OnlineUser> = Vec::new();
        loop {
            let next = in_time("a page", directory.users(online, users.last().cloned(), page)).await.expect("a page");
            assert!(next.len() <= page, "expected {page} users at most, got {}", next.len());
            if next.is_empty() {
                return users.iter().map(name).collect();
            }
            users.extend(next);
        }
    }

    fn name(user: &OnlineUser) -> String {
        format!("{}@{}", user.user, user.tenant.as_deref().unwrap_or_default())
    }

    async fn count(directory: &Arc<dyn Directory>, online: &OnlineIn) -> (u64, u64) {
        let OnlineCount { users, connections, .. } =
            in_time("a count", directory.count(online)).await.expect("a count");
        (users, connections)
    }

    /// Waits until the directory answers a count: other nodes may find entries a little later.
    async fn until_count_is(directory: &Arc<dyn Directory>, online: &OnlineIn, expected: (u64, u64)) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = count(directory, online).await;
            if found == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "expected {expected:?} of {online:?}, got {found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a user has exactly these connections: other nodes may find them a little later.
    async fn until_user_is(directory: &Arc<dyn Directory>, user: &str, expected: &[&Presence]) {
        let expected = sorted(expected.iter().copied().cloned().collect());
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = of_user(directory, user).await;
            if found == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "expected {expected:?}, got {found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A connection is found by its user, on every node, unchanged.
    pub async fn entries_are_found_by_user<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let acme = presence("ann", Some("acme")).with_rooms(["lobby", "räume"]);
        let (globex, none) = (presence("ann", Some("globex")), presence("ann", None));
        let (bob, other) = (presence("bob", Some("acme")), presence("anna", None));
        let here = [&acme, &globex, &bob].map(|presence| Online(presence.clone()));
        update(&one, NodeId::random(), &here, LONG).await;
        update(&two, NodeId::random(), &[Online(none.clone()), Online(other)], LONG).await;
        for node in [&one, &two] {
            until_user_is(node, "ann", &[&acme, &globex, &none]).await;
            until_user_is(node, "bob", &[&bob]).await;
            assert_eq!(of_user(node, "acme").await, []);
        }
    }

    /// Users are counted once per tenant, and returned once, in order, in pages of any size.
    pub async fn online_users_are_counted_and_paged<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let mut anonymous = presence("", Some("acme")).with_rooms(["lobby"]);
        anonymous.user = None;
        let mut here = vec![anonymous, presence("ann", None), presence("ann", Some("globex"))];
        here.extend((0..3).map(|_| presence("ann", Some("acme")).with_rooms(["lobby"])));
        here.extend(["b", "bo", "bob", "Zoë", "ann-2"].map(|user| presence(user, Some("acme"))));
        let there = [presence("bob", Some("acme")).with_rooms(["lobby", "team"]), presence("cid", None)];
        update(&one, NodeId::random(), &here.into_iter().map(Online).collect::<Vec<_>>(), LONG).await;
        // First, so that a node which knows the others has seen it come and end.
        let gone = [presence("gone", Some("acme")).with_rooms(["lobby"])];
        update(&two, NodeId::random(), &gone.map(Online), Duration::from_millis(1)).await;
        update(&two, NodeId::random(), &there.map(Online), LONG).await;
        let of_acme = ["Zoë@acme", "ann@acme", "ann-2@acme", "b@acme", "bo@acme", "bob@acme"];
        let everyone = ["Zoë@acme", "ann@", "ann@acme", "ann@globex"];
        let everyone = [&everyone[..], &["ann-2@acme", "b@acme", "bo@acme", "bob@acme", "cid@"]].concat();
        for node in [&one, &two] {
            until_count_is(node, &OnlineIn::Everywhere, (9, 13)).await;
            until_count_is(node, &tenant("acme"), (6, 10)).await;
            until_count_is(node, &room("lobby"), (2, 5)).await;
            assert_eq!(count(node, &tenant("acm")).await, (0, 0));
            for page in [1, 2, 3, 100] {
                assert_eq!(users(node, &OnlineIn::Everywhere, page).await, everyone);
                assert_eq!(users(node, &tenant("acme"), page).await, of_acme);
                assert_eq!(users(node, &tenant("globex"), page).await, ["ann@globex"]);
                assert_eq!(users(node, &room("lobby"), page).await, ["ann@acme", "bob@acme"]);
            }
            // After somebody who is not online any more.
            let after = OnlineUser::new("ann-1", Some("acme"));
            let page = node.users(&tenant("acme"), Some(after), 1).await.expect("a page");
            assert_eq!(page.iter().map(name).collect::<Vec<_>>(), ["ann-2@acme"]);
        }
    }

    /// The nodes are those whose lease is valid, with their names, whether or not they have
    /// connections.
    pub async fn nodes_are_those_with_a_lease<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let named = NodeInfo::new(NodeId::random()).with_name("räumlich \"a\"");
        let other = NodeInfo::new(NodeId::random());
        one.update(&named, &[], LONG).await.expect("the update is applied");
        two.update(&other, &[Online(presence("ann", None))], LONG).await.expect("the update is applied");
        two.update(&NodeInfo::new(NodeId::random()), &[], SHORT / 2).await.expect("the update is applied");
        let mut expected = vec![named, other];
        expected.sort_by_key(|node| node.id);
        for node in [&one, &two] {
            let deadline = tokio::time::Instant::now() + DEADLINE;
            loop {
                let mut found = in_time("the nodes", node.nodes()).await.expect("the nodes");
                found.sort_by_key(|node| node.id);
                if found == expected {
                    break;
                }
                assert!(tokio::time::Instant::now() < deadline, "expected {expected:?}, got {found:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// An entry that is sent again replaces the earlier one.
    pub async fn replaced_entry_is_in_its_new_rooms_only<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let ann = presence("ann", Some("acme")).with_rooms(["a", "b"]);
        update(&node, id, &[Online(ann.clone())], LONG).await;
        until_count_is(&node, &room("a"), (1, 1)).await;
        let moved = ann.clone().with_rooms(["b", "c"]);
        update(&node, id, &[Online(moved.clone())], LONG).await;
        until_user_is(&node, "ann", &[&moved]).await;
        let counts = [("a", (0, 0)), ("b", (1, 1)), ("c", (1, 1))];
        for (name, expected) in counts {
            assert_eq!(count(&node, &room(name)).await, expected, "{name}");
        }
        assert_eq!(count(&node, &tenant("acme")).await, (1, 1));
        update(&node, id, &[Offline(ann.connection)], LONG).await;
        until_count_is(&node, &room("b"), (0, 0)).await;
    }

    /// The last change of a connection in an update counts.
    pub async fn changes_are_applied_in_order<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let node = directory.node().await;
        let (ann, offline) = (presence("ann", None), presence("ann", None));
        let changes = [Online(offline.clone()), Online(ann.clone()), Offline(offline.connection)];
        update(&node, NodeId::random(), &changes, LONG).await;
        until_user_is(&node, "ann", &[&ann]).await;
    }

    /// An answer can be lost: the same changes are sent again, with later ones.
    pub async fn repeated_changes_have_no_effect<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let (ann, offline) = (presence("ann", Some("acme")), presence("ann", Some("acme")));
        let begun = update(&node, id, &[Online(ann.clone()), Online(offline.clone())], LONG).await;
        for _ in 0..2 {
            let again = update(&node, id, &[Online(ann.clone()), Offline(offline.connection)], LONG).await;
            assert_eq!(again, begun);
            until_user_is(&node, "ann", &[&ann]).await;
        }
        assert_eq!(count(&node, &tenant("acme")).await, (1, 1));
    }

    /// A node that stops renewing loses all its entries.
    pub async fn entries_expire_with_the_lease<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let (short, long) = (presence("ann", Some("acme")), presence("ann", None));
        update(&one, NodeId::random(), &[Online(short.clone())], SHORT).await;
        update(&two, NodeId::random(), &[Online(long.clone())], LONG).await;
        for node in [&one, &two] {
            until_user_is(node, "ann", &[&long]).await;
            assert_eq!(count(node, &tenant("acme")).await, (0, 0));
        }
    }

    /// An update without changes renews the lease.
    pub async fn entries_of_a_renewed_lease_stay<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let ann = presence("ann", None);
        let begun = update(&node, id, &[Online(ann.clone())], SHORT).await;
        until_user_is(&node, "ann", &[&ann]).await;
        let end = tokio::time::Instant::now() + SHORT * 3;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(SHORT / 10).await;
            let renewed = update(&node, id, &[], SHORT).await;
            let found = of_user(&node, "ann").await;
            // On a busy machine, a delay longer than the lease may have lost the entries.
            assert!(renewed != begun || found == [ann.clone()], "{found:?}");
        }
    }

    /// A node changes no entry of another node.
    pub async fn entries_of_nodes_are_separate<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let (here, there) = (presence("ann", None), presence("ann", None));
        update(&one, NodeId::random(), &[Online(here.clone())], LONG).await;
        until_user_is(&two, "ann", &[&here]).await;
        update(&two, NodeId::random(), &[Offline(here.connection), Online(there.clone())], LONG).await;
        until_user_is(&one, "ann", &[&here, &there]).await;
    }

    /// Each provider of a node notices a loss by the answer to its own update, in any order.
    pub async fn incarnation_changes_after_a_loss<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let (one, two) = (presence("ann", None), presence("ann", None));
        let begun = update(&node, id, &[Online(one.clone())], LONG).await;
        assert_eq!(update(&node, id, &[Online(two.clone())], LONG).await, begun);
        let mut seen = vec![begun];
        for _ in 0..3 {
            directory.lose().await;
            let anew = update(&node, id, &[], LONG).await;
            assert!(!seen.contains(&anew), "{anew:?} of {seen:?}");
            seen.push(anew);
            assert_eq!(of_user(&node, "ann").await, []);
            for presence in [&one, &two] {
                assert_eq!(update(&node, id, &[Online(presence.clone())], LONG).await, anew);
            }
            until_user_is(&node, "ann", &[&one, &two]).await;
        }
    }

    /// A node without connections keeps its incarnation.
    pub async fn incarnation_is_kept_without_entries<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let begun = update(&node, id, &[], LONG).await;
        let ann = presence("ann", None);
        for changes in [vec![], vec![Online(ann.clone())], vec![Offline(ann.connection)], vec![], vec![Online(ann)]] {
            assert_eq!(update(&node, id, &changes, LONG).await, begun, "{changes:?}");
        }
    }

    /// A directory may keep entries after the lease, and the incarnation then stays the same.
    pub async fn incarnation_kept_past_the_lease_keeps_its_entries<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let ann = presence("ann", None);
        let begun = update(&node, id, &[Online(ann.clone())], SHORT).await;
        until_user_is(&node, "ann", &[]).await;
        if update(&node, id, &[], LONG).await == begun {
            until_user_is(&node, "ann", &[&ann]).await;
        }
    }

    /// The providers of a node update concurrently, and the first updates create its entries once.
    pub async fn concurrent_updates_are_all_applied<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let presences: Vec<_> = (0..60).map(|_| presence("ann", None)).collect();
        let updates = presences.chunks(15).map(|presences| {
            let (node, presences) = (Arc::clone(&node), presences.to_vec());
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for presence in presences {
                    answers.push(update(&node, id, &[Online(presence)], LONG).await);
                }
                answers
            })
        });
        let answers: Vec<_> =
            join_all(updates).await.into_iter().flat_map(|answers| answers.expect("the task ends")).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        until_user_is(&node, "ann", &presences.iter().collect::<Vec<_>>()).await;
    }
}
