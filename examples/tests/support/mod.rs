//! What the smoke tests share: a program under test, a Socket.IO client of raw HTTP requests, and a deadline.

mod polling;
mod program;

pub use polling::Polling;
pub use program::{Program, refused};

use std::future::Future;
use std::time::Duration;

/// Far more than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `future`, and panics with `what` when that takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("timed out: {what}"))
}
