//! One event's calls of the sink, until one succeeds.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use crate::log::backoff::Backoff;
use crate::log::offline::counters::Outcome;
use crate::log::offline::state::Offline;
use crate::traits::offline::OfflineSink;
use crate::values::offline_config::OfflineConfig;
use crate::values::offline_event::OfflineEvent;
use crate::values::position::Position;

/// The longest delay between two attempts.
const LAST_DELAY: Duration = Duration::from_secs(30);

/// Calls the sink for an event until an attempt succeeds, or its attempts or its time are over;
/// returns the event's position.
pub(super) async fn call(
    sink: Arc<dyn OfflineSink>,
    event: OfflineEvent,
    config: OfflineConfig,
    offline: Arc<Offline>,
) -> Position {
    let (begun, mut backoff) = (Instant::now(), Backoff::new(LAST_DELAY));
    for attempt in 1.. {
        // The call itself may panic too.
        let called = AssertUnwindSafe(async { sink.offline(&event).await }).catch_unwind();
        let (outcome, error) = match timeout(config.call_timeout, called).await {
            Ok(Ok(Ok(()))) => {
                offline.counters.called(Outcome::Ok);
                break;
            }
            Ok(Ok(Err(error))) => (Outcome::Failed, error.to_string()),
            Ok(Err(_)) => (Outcome::Panicked, "it panicked".to_owned()),
            Err(_) => (Outcome::TimedOut, "it did not return in time".to_owned()),
        };
        offline.counters.called(outcome);
        let (id, name) = (event.id, &event.name);
        if attempt >= config.attempts || begun.elapsed() >= config.retry_for {
            offline.counters.called(Outcome::GivenUp);
            tracing::error!(event = %id, name, user = event.user, attempt, error, "the offline sink failed: given up");
            break;
        }
        tracing::warn!(event = %id, name, user = event.user, attempt, error, "the offline sink failed; retrying");
        backoff.wait().await;
    }
    event.position
}
