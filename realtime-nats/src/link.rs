use std::sync::Arc;

use async_nats::Message;
use realtime_core::spi::Reconnecting;
use tokio::task::JoinHandle;

use crate::api::{Request, Requests};
use crate::connector::{Connection, Connector};
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
    slot: Reconnecting<Connection>,
}

impl Link {
    /// Creates the link with a first connection, and keeps it connected until it is dropped.
    pub(crate) fn new(connector: Connector, connection: Connection) -> Self {
        let shared = Arc::new(Shared { connector, slot: Reconnecting::new(connection) });
        let task = tokio::spawn(Arc::clone(&shared).keep_connected());
        Self { shared, task }
    }

    /// Returns the current connection.
    pub(crate) fn connection(&self) -> Result<Connection, Fault> {
        let (_, connection) = self.shared.current()?;
        connection.check_open()?;
        Ok(connection)
    }
}

impl Requests for Link {
    async fn request(&self, request: Request<'_>) -> Result<Message, Fault> {
        let (number, connection) = self.shared.current()?;
        let answer = connection.request(request).await;
        if matches!(answer, Err(Fault::Disconnected(_) | Fault::NotConnected(_))) {
            self.shared.slot.give_up(number);
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
    fn current(&self) -> Result<(u64, Connection), Fault> {
        self.slot.current().ok_or_else(|| Fault::NotConnected(self.connector.address().to_owned()))
    }

    async fn keep_connected(self: Arc<Self>) {
        loop {
            if let Some((number, connection)) = self.slot.current() {
                tokio::select! {
                    () = connection.closed() => {}
                    () = self.slot.given_up() => {}
                }
                if connection.is_broken() {
                    self.slot.give_up(number);
                }
            }
            self.slot.reconnect("NATS", self.connector.address(), || self.connector.connect()).await;
        }
    }
}
