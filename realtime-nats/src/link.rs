use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::connector::{Connection, Connector, Retry};
use crate::error::Fault;

/// A connection for requests, made anew when it breaks. A request while there is none fails at
/// once, so that its caller knows that nothing was sent.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    /// The current connection. Locked only briefly, never across an await.
    current: Mutex<Current>,
    /// Notified when the connection is given up.
    broken: Notify,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    /// The connection's number: an error of an earlier one says nothing about it.
    number: u64,
}

impl Link {
    /// Creates the link with a first connection, and keeps it connected until it is dropped.
    pub(crate) fn new(connector: Connector, connection: Connection) -> Self {
        let current = Mutex::new(Current { connection: Some(connection), number: 0 });
        let shared = Arc::new(Shared { connector, current, broken: Notify::new() });
        let task = tokio::spawn(Arc::clone(&shared).keep_connected());
        Self { shared, task }
    }

    /// Returns the current connection.
    pub(crate) fn connection(&self) -> Result<Connection, Fault> {
        let connection = self.shared.current().connection.clone();
        let connection = connection.ok_or_else(|| Fault::NotConnected(self.shared.connector.address().to_owned()))?;
        connection.check_open()?;
        Ok(connection)
    }

    /// Sends a message that is answered, and returns the answer.
    pub(crate) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Bytes,
        limit: Duration,
    ) -> Result<Message, Fault> {
        let (number, connection) = {
            let current = self.shared.current();
            (current.number, current.connection.clone())
        };
        let connection = connection.ok_or_else(|| Fault::NotConnected(self.shared.connector.address().to_owned()))?;
        let answer = connection.request(subject, headers, payload, limit).await;
        if matches!(answer, Err(Fault::Disconnected(_) | Fault::NotConnected(_))) {
            self.shared.give_up(number);
        }
        answer
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a connection that is broken, unless another one has replaced it.
    fn give_up(&self, number: u64) {
        let mut current = self.current();
        if current.number == number && current.connection.take().is_some() {
            drop(current);
            self.broken.notify_one();
        }
    }

    async fn keep_connected(self: Arc<Self>) {
        loop {
            let connection = self.current().connection.clone();
            if let Some(connection) = connection {
                tokio::select! {
                    () = connection.closed() => {}
                    // May have been meant for the connection before this one.
                    () = self.broken.notified() => {}
                }
                let mut current = self.current();
                current.connection.take_if(|current| current.is_broken());
            }
            if self.current().connection.is_none() {
                self.reconnect().await;
            }
        }
    }

    async fn reconnect(&self) {
        let address = self.connector.address();
        tracing::warn!(%address, "the connection to NATS is lost");
        let mut retry = Retry::new();
        loop {
            retry.wait().await;
            match self.connector.connect().await {
                Ok(connection) => {
                    let mut current = self.current();
                    current.connection = Some(connection);
                    current.number += 1;
                    drop(current);
                    tracing::info!(%address, "connected to NATS again");
                    return;
                }
                Err(error) => tracing::debug!(%address, %error, "no connection to NATS"),
            }
        }
    }
}
