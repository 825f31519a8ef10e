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
            entries_are_found_by_user_and_by_tenant,
            entries_expire_with_the_lease,
            entries_of_a_renewed_lease_stay,
            entries_of_nodes_are_separate,
            incarnation_changes_after_a_loss,
            incarnation_is_kept_without_entries,
            incarnation_kept_past_the_lease_keeps_its_entries,
            repeated_changes_have_no_effect,
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
    use realtime_core::{ConnectionId, NodeId, Presence};

    use super::DirectoryUnderTest;
    use crate::{DEADLINE, in_time};

    /// A lease longer than a test.
    const LONG: Duration = Duration::from_secs(120);
    const SHORT: Duration = Duration::from_secs(1);

    fn presence(user: &str, tenant: Option<&str>) -> Presence {
        // An hour ago, in whole milliseconds, because a directory need not store finer times.
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis() - 3_600_000);
        let mut presence = Presence::new(ConnectionId::random(), "conformance", since).with_user(user);
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
        in_time("an update", directory.update(node, changes, lease)).await.expect("the update is applied")
    }

    fn sorted(mut presences: Vec<Presence>) -> Vec<Presence> {
        presences.sort_by_key(|presence| presence.connection);
        presences
    }

    async fn of_user(directory: &Arc<dyn Directory>, user: &str) -> Vec<Presence> {
        sorted(in_time("a user's connections", directory.of_user(user)).await.expect("the connections can be read"))
    }

    async fn of_tenant(directory: &Arc<dyn Directory>, tenant: &str) -> Vec<Presence> {
        sorted(
            in_time("a tenant's connections", directory.of_tenant(tenant)).await.expect("the connections can be read"),
        )
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

    /// A connection is found by its user and its tenant, on every node, unchanged.
    pub async fn entries_are_found_by_user_and_by_tenant<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let (acme, globex, none) =
            (presence("ann", Some("acme")), presence("ann", Some("globex")), presence("ann", None));
        let (bob, mut anonymous) = (presence("bob", Some("acme")), presence("", Some("acme")));
        anonymous.user = None;
        let here = [&acme, &globex, &bob].map(|presence| Online(presence.clone()));
        update(&one, NodeId::random(), &here, LONG).await;
        update(&two, NodeId::random(), &[&none, &anonymous].map(|presence| Online(presence.clone())), LONG).await;
        for node in [&one, &two] {
            until_user_is(node, "ann", &[&acme, &globex, &none]).await;
            until_user_is(node, "bob", &[&bob]).await;
            assert_eq!(of_tenant(node, "globex").await, std::slice::from_ref(&globex));
            assert_eq!(of_user(node, "acme").await, []);
            assert_eq!(of_tenant(node, "ann").await, []);
        }
        // The anonymous connection may be found a little later, too.
        let found = async {
            while of_tenant(&one, "acme").await != sorted(vec![acme.clone(), bob.clone(), anonymous.clone()]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("all connections of a tenant", found).await;
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
        assert_eq!(of_tenant(&node, "acme").await, [ann]);
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
            assert_eq!(of_tenant(node, "acme").await, []);
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
