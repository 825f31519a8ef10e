use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

/// The longest that one wait of a test may take: 30 s, enough for a machine that runs many tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two checks of a condition; short, because tests with a paused clock check in
/// its steps.
const INTERVAL: Duration = Duration::from_millis(1);

/// Waits for a future, for at most [`DEADLINE`].
///
/// # Panics
/// If the future does not resolve in that time; the message has `what` and the caller's line.
#[track_caller]
pub fn in_time<F: Future>(what: impl Display, future: F) -> impl Future<Output = F::Output> {
    within(DEADLINE, what, future)
}

/// Waits for a future, for at most `limit`; for tests with a paused clock, whose waits are long.
///
/// # Panics
/// As [`in_time`].
#[track_caller]
pub fn within<F: Future>(limit: Duration, what: impl Display, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("expected within {limit:?}: {what} (at {caller})"),
        }
    }
}

/// Waits until a condition holds, for at most [`DEADLINE`]; checks it every millisecond.
///
/// # Panics
/// As [`in_time`].
#[track_caller]
pub fn eventually(what: impl Display, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    in_time(what, async move {
        while !holds() {
            tokio::time::sleep(INTERVAL).await;
        }
    })
}
