use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::connector::{Connector, Retry};
use crate::error::Fault;
use crate::script::Call;

/// The interval between the pings that notice a broken connection.
const PING: Duration = Duration::from_secs(1);

/// A connection for requests, made anew when it breaks. A request while there is none fails at
/// once, so that its caller knows that nothing was sent.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    /// The longest time for a request.
    limit: Duration,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    connector: Connector,
    /// The current connection. Locked only briefly, never across an await.
    current: Mutex<Current>,
    /// Notified when the connection is found broken.
    broken: Notify,
}

#[derive(Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// The connection's number: an error of an earlier one says nothing about it.
    number: u64,
}

impl Link {
    /// Creates the link with a first connection, and keeps it connected until it is dropped.
    pub(crate) fn new(connector: Connector, connection: MultiplexedConnection, limit: Duration) -> Self {
        let current = Mutex::new(Current { connection: Some(connection), number: 0 });
        let shared = Arc::new(Shared { connector, current, broken: Notify::new() });
        let task = tokio::spawn(Arc::clone(&shared).keep_connected(limit));
        Self { shared, limit, task }
    }

    /// Runs a script, which is loaded first if Redis does not know it.
    pub(crate) async fn call(&self, call: Call) -> Result<Value, Fault> {
        self.shared
            .request(self.limit, async |connection| match send(connection, &call.run).await {
                Err(error) if error.code() == Some("NOSCRIPT") => {
                    send(connection, &call.load).await?;
                    send(connection, &call.run).await
                }
                answer => answer,
            })
            .await
    }

    /// Runs a command.
    pub(crate) async fn command(&self, command: &Cmd) -> Result<Value, Fault> {
        self.shared.request(self.limit, async |connection| send(connection, command).await).await
    }

    /// Runs the commands of a pipeline.
    pub(crate) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Fault> {
        self.shared.request(self.limit, async |connection| pipeline.query_async::<Vec<Value>>(connection).await).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends a command; an error inside its answer is an error.
async fn send(connection: &mut MultiplexedConnection, command: &Cmd) -> RedisResult<Value> {
    connection.req_packed_command(command).await.and_then(Value::extract_error)
}

impl Shared {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request<T>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Fault> {
        let (number, connection) = {
            let current = self.current();
            (current.number, current.connection.clone())
        };
        let mut connection = connection.ok_or_else(|| Fault::NotConnected(self.connector.address.clone()))?;
        let answer = self.connector.within(limit, ask(&mut connection)).await;
        if let Err(fault) = &answer
            && fault.breaks_connection()
        {
            self.give_up(number);
        }
        answer
    }

    /// Drops a connection that is broken, unless another one has replaced it.
    fn give_up(&self, number: u64) {
        let mut current = self.current();
        if current.number == number && current.connection.take().is_some() {
            drop(current);
            self.broken.notify_one();
        }
    }

    async fn keep_connected(self: Arc<Self>, limit: Duration) {
        let ping = redis::cmd("PING");
        loop {
            tokio::select! {
                () = self.broken.notified() => {}
                () = tokio::time::sleep(PING) => {
                    let _ = self.request(limit, async |connection| send(connection, &ping).await).await;
                }
            }
            if self.current().connection.is_none() {
                self.reconnect().await;
            }
        }
    }

    async fn reconnect(&self) {
        let address = &self.connector.address;
        tracing::warn!(%address, "the connection to Redis is lost");
        let mut retry = Retry::new();
        loop {
            retry.wait().await;
            match self.connector.connect().await {
                Ok(connection) => {
                    let mut current = self.current();
                    current.connection = Some(connection);
                    current.number += 1;
                    drop(current);
                    tracing::info!(%address, "connected to Redis again");
                    return;
                }
                Err(error) => tracing::debug!(%address, %error, "no connection to Redis"),
            }
        }
    }
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("number", &self.number).finish_non_exhaustive()
    }
}
