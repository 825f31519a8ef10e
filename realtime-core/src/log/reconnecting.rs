//! A connection to a broker that is made anew when it breaks.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::log::backoff::Backoff;

/// The longest delay between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);

/// A backplane's connection to its broker, which is made anew when it breaks. While there is none,
/// a request can fail at once, so that its caller knows that nothing was sent.
///
/// The backplane runs the task that waits for the end of a connection and then calls
/// [`Reconnecting::reconnect`].
pub struct Reconnecting<C> {
    /// The current connection. Locked only briefly, never across an await.
    current: Mutex<Current<C>>,
    /// Notified when the connection is given up.
    given_up: Notify,
}

struct Current<C> {
    connection: Option<C>,
    /// The connection's number: an error of an earlier one says nothing about it.
    number: u64,
}

impl<C: Clone + Send> Reconnecting<C> {
    /// Creates the slot with a first connection.
    pub fn new(connection: C) -> Self {
        let current = Mutex::new(Current { connection: Some(connection), number: 0 });
        Self { current, given_up: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Current<C>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current connection and its number; `None` while there is none.
    pub fn current(&self) -> Option<(u64, C)> {
        let current = self.lock();
        Some((current.number, current.connection.clone()?))
    }

    /// Drops the connection with this number, which is broken, unless another one has replaced it.
    pub fn give_up(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number && current.connection.take().is_some() {
            drop(current);
            self.given_up.notify_one();
        }
    }

    /// Waits until a connection is given up; may return for one that has been replaced since.
    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }

    /// Makes a new connection if there is none, with as many attempts as it takes. Logs the loss,
    /// with the broker's name and address.
    pub async fn reconnect<F, E>(&self, broker: &str, address: &str, connect: impl Fn() -> F + Send + Sync)
    where
        F: Future<Output = Result<C, E>> + Send,
        E: Display + Send,
    {
        if self.current().is_some() {
            return;
        }
        tracing::warn!(%address, "the connection to {broker} is lost");
        let mut backoff = Backoff::new(RETRY);
        loop {
            backoff.wait().await;
            match connect().await {
                Ok(connection) => {
                    let mut current = self.lock();
                    current.connection = Some(connection);
                    current.number += 1;
                    drop(current);
                    tracing::info!(%address, "connected to {broker} again");
                    return;
                }
                Err(error) => tracing::debug!(%address, %error, "no connection to {broker}"),
            }
        }
    }
}

impl<C> std::fmt::Debug for Reconnecting<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconnecting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_is_made_anew_after_it_was_given_up() {
        let slot = Reconnecting::new("first");
        let (number, _) = slot.current().unwrap();
        slot.give_up(number);
        slot.given_up().await;
        assert!(slot.current().is_none());
        let attempts = AtomicU32::new(0);
        let connect = || async {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            if attempt < 3 { Err("no answer") } else { Ok("second") }
        };
        slot.reconnect("the broker", "host:1", connect).await;
        let (next, connection) = slot.current().unwrap();
        assert_eq!((connection, attempts.load(Ordering::Relaxed)), ("second", 4));
        slot.give_up(number);
        assert_eq!(slot.current(), Some((next, "second")), "an error of the earlier connection");
        slot.reconnect("the broker", "host:1", connect).await;
        assert_eq!(attempts.load(Ordering::Relaxed), 4, "there is a connection");
    }
}
