//! The time within which Redis has to answer.

use std::time::Duration;

use redis::RedisResult;
use tokio::time::timeout;

use crate::error::Fault;

/// The longest time that Redis may take to accept a connection, or to answer.
pub(crate) const RESPONSE: Duration = Duration::from_millis(1500);

/// Waits for an answer of the server at this address for at most this long.
pub(crate) async fn within<T>(
    address: &str,
    limit: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> Result<T, Fault> {
    match timeout(limit, answer).await {
        Ok(answer) => answer
            .map_err(|error| if error.is_timeout() { Fault::Timeout(address.to_owned()) } else { Fault::Redis(error) }),
        Err(_) => Err(Fault::Timeout(address.to_owned())),
    }
}
