//! The shared parts of the smoke tests: a program under test, a Socket.IO client of raw HTTP
//! requests, and a deadline.

mod polling;
mod program;

pub(crate) use polling::Polling;
pub(crate) use program::{Program, refused, shell};

use std::future::Future;
use std::time::Duration;

/// The longest time for one step: far more than any takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Returns a client for plain requests.
pub(crate) fn http() -> reqwest::Client {
    // Loopback needs no proxy, and a test must not depend on the environment's.
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits for `future`, and panics with `what` when that takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("timed out: {what}"))
}
