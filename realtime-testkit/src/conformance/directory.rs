use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Directory;

/// A directory, as the suite drives it.
#[async_trait]
pub trait DirectoryUnderTest: Send + Sync + Sized + 'static {
    /// Makes one without entries.
    async fn start() -> Self;

    /// The directory as one node reaches it; every call is another node on the same entries.
    async fn node(&self) -> Arc<dyn Directory>;

    /// Loses the entries of all nodes, as a restart of what holds them does.
    async fn lose(&self);
}

/// Makes one `#[test]` of every test of the directory suite, in a module `conformance`, for a
/// [`DirectoryUnderTest`].
#[macro_export]
macro_rules! directory_conformance {
    ($directory:ty) => {
        $crate::conformance_tests! { $directory; in directory:
            changes_are_applied_in_order,
            changes_that_are_offered_again_change_nothing,
            entries_are_found_by_user_and_by_tenant,
            entries_end_with_the_lease,
            entries_of_a_lease_that_is_renewed_stay,
            entries_of_nodes_are_apart,
            incarnation_is_another_one_after_a_loss,
            incarnation_is_kept_without_entries,
            incarnation_that_outlives_the_lease_has_its_entries,
            updates_at_the_same_time_are_all_applied,
        }
    };
}

/// The directory suite: one function a test.
pub mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use futures_util::future::join_all;
    use realtime_core::spi::DirectoryChange::{Offline, Online};
    use realtime_core::spi::{Directory, DirectoryChange, Incarnation};
    use realtime_core::{ConnectionId, NodeId, Presence};

    use super::DirectoryUnderTest;
    use crate::conformance::run::{WAIT, in_time};

    /// Longer than a test.
    const LONG: Duration = Duration::from_secs(120);
    const SHORT: Duration = Duration::from_secs(1);

    fn presence(user: &str, tenant: Option<&str>) -> Presence {
        // An hour ago, and to the millisecond: finer times need not be kept.
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_millis() - 3_600_000);
        let mut presence = Presence::new(ConnectionId::random(), "conformance", since).with_user(user);
        presence.tenant = tenant.map(str::to_owned);
        presence
    }

    fn unix_millis() -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
        u64::try_from(now.as_millis()).expect("it is before the year 584,556,019")
    }

    async fn update(
        directory: &Arc<dyn Directory>,
        node: NodeId,
        changes: &[DirectoryChange],
        lease: Duration,
    ) -> Incarnation {
        in_time("an update", directory.update(node, changes, lease)).await.expect("it is taken")
    }

    fn sorted(mut presences: Vec<Presence>) -> Vec<Presence> {
        presences.sort_by_key(|presence| presence.connection);
        presences
    }

    async fn of_user(directory: &Arc<dyn Directory>, user: &str) -> Vec<Presence> {
        sorted(in_time("a user's connections", directory.of_user(user)).await.expect("it can be read"))
    }

    async fn of_tenant(directory: &Arc<dyn Directory>, tenant: &str) -> Vec<Presence> {
        sorted(in_time("a tenant's connections", directory.of_tenant(tenant)).await.expect("it can be read"))
    }

    /// Waits until exactly these are a user's connections: other nodes may see them a little later.
    async fn until_user_is(directory: &Arc<dyn Directory>, user: &str, expected: &[&Presence]) {
        let expected = sorted(expected.iter().copied().cloned().collect());
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let found = of_user(directory, user).await;
            if found == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not in time: {expected:?}, but {found:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A connection is found under its names, on every node, as it was told.
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
        // The anonymous one may be seen a little later, too.
        let there = async {
            while of_tenant(&one, "acme").await != sorted(vec![acme.clone(), bob.clone(), anonymous.clone()]) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        in_time("all of a tenant", there).await;
    }

    /// What comes later in one update counts.
    pub async fn changes_are_applied_in_order<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let node = directory.node().await;
        let (ann, gone) = (presence("ann", None), presence("ann", None));
        let changes = [Online(gone.clone()), Online(ann.clone()), Offline(gone.connection)];
        update(&node, NodeId::random(), &changes, LONG).await;
        until_user_is(&node, "ann", &[&ann]).await;
    }

    /// An answer may be lost on its way: the same changes come again, and later ones.
    pub async fn changes_that_are_offered_again_change_nothing<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let (ann, gone) = (presence("ann", Some("acme")), presence("ann", Some("acme")));
        let begun = update(&node, id, &[Online(ann.clone()), Online(gone.clone())], LONG).await;
        for _ in 0..2 {
            let again = update(&node, id, &[Online(ann.clone()), Offline(gone.connection)], LONG).await;
            assert_eq!(again, begun);
            until_user_is(&node, "ann", &[&ann]).await;
        }
        assert_eq!(of_tenant(&node, "acme").await, [ann]);
    }

    /// Who stops renewing is gone, with all that it had.
    pub async fn entries_end_with_the_lease<D: DirectoryUnderTest>() {
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
    pub async fn entries_of_a_lease_that_is_renewed_stay<D: DirectoryUnderTest>() {
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
            // A machine that holds the test up for a lease may have lost it.
            assert!(renewed != begun || found == [ann.clone()], "{found:?}");
        }
    }

    /// A node changes nothing of another one's.
    pub async fn entries_of_nodes_are_apart<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (one, two) = (directory.node().await, directory.node().await);
        let (here, there) = (presence("ann", None), presence("ann", None));
        update(&one, NodeId::random(), &[Online(here.clone())], LONG).await;
        until_user_is(&two, "ann", &[&here]).await;
        update(&two, NodeId::random(), &[Offline(here.connection), Online(there.clone())], LONG).await;
        until_user_is(&one, "ann", &[&here, &there]).await;
    }

    /// Each provider of a node sees a loss by the answer to its own update, whoever comes first.
    pub async fn incarnation_is_another_one_after_a_loss<D: DirectoryUnderTest>() {
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

    /// A node whose connections have all gone, or that has none yet, is known all the same.
    pub async fn incarnation_is_kept_without_entries<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let begun = update(&node, id, &[], LONG).await;
        let ann = presence("ann", None);
        for changes in [vec![], vec![Online(ann.clone())], vec![Offline(ann.connection)], vec![], vec![Online(ann)]] {
            assert_eq!(update(&node, id, &changes, LONG).await, begun, "{changes:?}");
        }
    }

    /// Whether entries are kept when the lease is over is the directory's choice, but the answer has to say so.
    pub async fn incarnation_that_outlives_the_lease_has_its_entries<D: DirectoryUnderTest>() {
        let directory = D::start().await;
        let (node, id) = (directory.node().await, NodeId::random());
        let ann = presence("ann", None);
        let begun = update(&node, id, &[Online(ann.clone())], SHORT).await;
        until_user_is(&node, "ann", &[]).await;
        if update(&node, id, &[], LONG).await == begun {
            until_user_is(&node, "ann", &[&ann]).await;
        }
    }

    /// The providers of a node update at the same time, and the first ones begin its entries once.
    pub async fn updates_at_the_same_time_are_all_applied<D: DirectoryUnderTest>() {
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
            join_all(updates).await.into_iter().flat_map(|answers| answers.expect("it ends")).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        until_user_is(&node, "ann", &presences.iter().collect::<Vec<_>>()).await;
    }
}
