use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ConnectionInfo};

use crate::error::Fault;
use crate::limit::{RESPONSE, within};
use crate::source::{self, Source, client};

/// The requests that wait to be written to a connection before their callers wait.
const PIPELINE: usize = 1024;
/// The longest delay between two attempts to connect.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The way to the primary of a log. Printed as host and port, without the credentials.
#[derive(Clone)]
pub(crate) struct Connector {
    source: Source,
    /// Host and port, or the path of a socket, for messages; with several servers what names them.
    pub(crate) address: String,
    pub(crate) database: i64,
}

impl Connector {
    /// Reads the URL of a primary.
    pub(crate) fn new(url: &str) -> Result<Self, Fault> {
        let info = source::read(url)?;
        let (address, database) = (info.addr().to_string(), info.redis_settings().db());
        Ok(Self { source: Source::Server(info), address, database })
    }

    /// Reads the URLs of sentinels, and that of the primary, whose host is the name by which they
    /// know it.
    pub(crate) fn of_sentinels(sentinels: &[&str], primary: &str) -> Result<Self, Fault> {
        let (sentinels, primary) = (source::read_all(sentinels)?, source::read(primary)?);
        let (address, database) = (primary.addr().to_string(), primary.redis_settings().db());
        Ok(Self { source: Source::Sentinels { sentinels, primary }, address, database })
    }

    /// Reads the URLs of servers of a cluster; the log is on the shard of this key.
    pub(crate) fn of_cluster(servers: &[&str], key: &str) -> Result<Self, Fault> {
        let servers = source::read_all(servers)?;
        let address = servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(", ");
        Ok(Self { source: Source::Cluster { servers, key: key.to_owned() }, address, database: 0 })
    }

    /// Returns the server that is the primary now.
    pub(crate) async fn locate(&self) -> Result<ConnectionInfo, Fault> {
        self.source.locate().await
    }

    /// Returns whether the primary can become another server.
    pub(crate) fn can_move(&self) -> bool {
        !matches!(self.source, Source::Server(_))
    }

    /// Connects for requests.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Fault> {
        self.connect_at().await.map(|(_, connection)| connection)
    }

    /// Connects for requests; returns the address of the server, too.
    pub(crate) async fn connect_at(&self) -> Result<(String, MultiplexedConnection), Fault> {
        let primary = self.locate().await?;
        let address = primary.addr().to_string();
        // The time of a request is limited where it is made, with the loading of its script.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let client = client(primary)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = self.within(RESPONSE, connecting).await.map_err(|fault| self.at_connect(fault))?;
        Ok((address, connection))
    }

    /// Connects for a subscription to these channels; returns the address of the server, too.
    pub(crate) async fn subscribe(&self, channels: &[String]) -> Result<(String, PubSub), Fault> {
        let primary = self.locate().await?;
        let address = primary.addr().to_string();
        let client = client(primary)?;
        let subscribing = async {
            let mut connection = client.get_async_pubsub().await?;
            connection.subscribe(channels).await?;
            Ok(connection)
        };
        let subscribed = self.within(RESPONSE, subscribing).await.map_err(|fault| self.at_connect(fault))?;
        Ok((address, subscribed))
    }

    /// Adds the address to the error of a connection that could not be made.
    fn at_connect(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Redis(error) => Fault::Connect { address: self.address.clone(), error },
            other => other,
        }
    }

    /// Waits for an answer for at most this long.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, Fault> {
        within(&self.address, limit, answer).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}
