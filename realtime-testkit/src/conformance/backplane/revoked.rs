//! The tests of the revoked tokens beside a log.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use realtime_core::Error;
use realtime_core::spi::{Backplane, Revocation};

use super::BackplaneUnderTest;
use crate::in_time;

/// Returns the revoked tokens, sorted, each with the seconds until which it is revoked.
async fn revoked(node: &Arc<dyn Backplane>, since: SystemTime) -> Vec<(String, u64)> {
    let stored = node.revoked().await.expect("revocations");
    let seconds = |until: SystemTime| until.duration_since(since).unwrap_or_default().as_secs();
    let mut all: Vec<_> = stored.iter().map(|one| (one.token.to_string(), seconds(one.until()))).collect();
    all.sort_unstable();
    all
}

/// A token that one node revokes is revoked at every other one, until the latest of its times.
pub async fn revocations_are_those_of_all_nodes<B: BackplaneUnderTest>() {
    let backplane = B::start().await;
    let (one, two) = (backplane.node().await, backplane.node().await);
    // Whole milliseconds, which a revocation has.
    let now = Revocation::new("", SystemTime::now()).until();
    let revoke = async |node: &Arc<dyn Backplane>, token: &str, seconds| {
        node.revoke(&Revocation::new(token, now + Duration::from_secs(seconds)), 100).await.expect("revoked");
    };
    assert_eq!(revoked(&one, now).await, []);
    revoke(&one, "a", 60).await;
    revoke(&two, "b *>.\"ü", 70).await;
    revoke(&one, "a", 90).await;
    revoke(&two, "a", 30).await;
    let expected = [("a".to_owned(), 90), ("b *>.\"ü".to_owned(), 70)];
    for node in [&one, &two, &backplane.node().await] {
        assert_eq!(revoked(node, now).await, expected);
    }
}

/// No more tokens are revoked at a time than a node wants; those whose time is over make room.
pub async fn revocations_are_bounded_and_end<B: BackplaneUnderTest>() {
    let backplane = B::start().await;
    let node = backplane.node().await;
    let revoke =
        async |token: &str, until: Duration| node.revoke(&Revocation::new(token, SystemTime::now() + until), 2).await;
    let (long, brief) = (Duration::from_secs(600), Duration::from_millis(500));
    revoke("long", long).await.expect("revoked");
    revoke("brief", brief).await.expect("revoked");
    let full = revoke("third", long).await;
    assert!(matches!(full, Err(Error::TooManyRevocations { most: 2 })), "{full:?}");
    revoke("long", 2 * long).await.expect("known already");
    in_time("room for a third", async {
        while revoke("third", long).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let tokens: Vec<_> = revoked(&node, SystemTime::now()).await.into_iter().map(|(token, _)| token).collect();
    assert_eq!(tokens, ["long", "third"]);
}
