//! Events at a steady rate, however long each send takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use super::{Audience, Publisher, user_name};
use crate::Result;
use crate::payload::payload;

/// The time between two looks at what is due.
const TICK: Duration = Duration::from_millis(1);

/// Publishes `count` events of `size` bytes, `rate` a second, to one user after the other of the
/// first `users`, or to everyone; returns when every send has.
pub(super) async fn publish(
    publisher: &Arc<dyn Publisher>,
    (count, rate): (u64, u32),
    size: usize,
    users: Option<usize>,
) -> Result<()> {
    let mut under_way = JoinSet::new();
    let mut tick = interval(TICK);
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while sent < count {
        tick.tick().await;
        let due = count.min(due(begun.elapsed(), rate));
        for number in sent..due {
            let publisher = Arc::clone(publisher);
            let audience = users.map_or(Audience::All, |users| {
                Audience::User(user_name(usize::try_from(number).unwrap_or_default() % users))
            });
            // Its time is the one at which it is due, before its task has its turn.
            let json = payload(size);
            under_way.spawn(async move { publisher.publish(&audience, json).await });
        }
        sent = sent.max(due);
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// Returns the number of events that are due after this time.
fn due(elapsed: Duration, rate: u32) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_events_follow_the_clock() {
        assert_eq!(due(Duration::from_micros(499), 2_000), 0);
        assert_eq!(due(Duration::from_micros(1_500), 2_000), 3);
        assert_eq!(due(Duration::from_secs(100), 200), 20_000);
    }
}
