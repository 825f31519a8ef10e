use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::Reconnecting;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::task::JoinHandle;

use crate::connector::Connector;
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
    slot: Reconnecting<MultiplexedConnection>,
}

impl Link {
    /// Creates the link with a first connection, and keeps it connected until it is dropped.
    pub(crate) fn new(connector: Connector, connection: MultiplexedConnection, limit: Duration) -> Self {
        let shared = Arc::new(Shared { connector, slot: Reconnecting::new(connection) });
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
    async fn request<T>(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, Fault> {
        let current = self.slot.current();
        let (number, mut connection) = current.ok_or_else(|| Fault::NotConnected(self.connector.address.clone()))?;
        let answer = self.connector.within(limit, ask(&mut connection)).await;
        if let Err(fault) = &answer
            && fault.breaks_connection()
        {
            self.slot.give_up(number);
        }
        answer
    }

    async fn keep_connected(self: Arc<Self>, limit: Duration) {
        let ping = redis::cmd("PING");
        loop {
            tokio::select! {
                () = self.slot.given_up() => {}
                () = tokio::time::sleep(PING) => {
                    let _ = self.request(limit, async |connection| send(connection, &ping).await).await;
                }
            }
            self.slot.reconnect("Redis", &self.connector.address, || self.connector.connect()).await;
        }
    }
}
