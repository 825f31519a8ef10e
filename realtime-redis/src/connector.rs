use std::time::Duration;

use realtime_core::spi::random_between;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use tokio::time::timeout;

use crate::error::Fault;

/// The longest time that Redis may take to accept a connection, or to answer.
pub(crate) const RESPONSE: Duration = Duration::from_millis(1500);
/// The requests that wait to be written to a connection before their callers wait.
const PIPELINE: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// The way to a server. Printed as host and port, without the credentials.
#[derive(Clone)]
pub(crate) struct Connector {
    client: Client,
    /// Host and port, or the path of a socket, for messages.
    pub(crate) address: String,
    pub(crate) database: i64,
}

impl Connector {
    /// Reads a URL.
    pub(crate) fn new(url: &str) -> Result<Self, Fault> {
        // What the library says of a URL is not repeated, so that no part of a password can be in
        // it.
        let invalid = || Fault::Config("the URL of Redis cannot be read; expected redis://host:port".to_owned());
        let info: ConnectionInfo = url.into_connection_info().map_err(|_| invalid())?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // An error means that the application has installed one, which is used then.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // The answers of RESP3 have other shapes, and a blocked reader needs nothing of it.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let database = settings.db();
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let address = info.addr().to_string();
        let client = Client::open(info).map_err(|_| invalid())?;
        Ok(Self { client, address, database })
    }

    /// Connects for requests.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Fault> {
        // The time of a request is limited where it is made, with the loading of its script.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        self.within(RESPONSE, connecting).await.map_err(|fault| self.at_connect(fault))
    }

    /// Connects for a subscription to these channels.
    pub(crate) async fn subscribe(&self, channels: &[String]) -> Result<PubSub, Fault> {
        let subscribing = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(channels).await?;
            Ok(connection)
        };
        self.within(RESPONSE, subscribing).await.map_err(|fault| self.at_connect(fault))
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
        match timeout(limit, answer).await {
            Ok(answer) => answer.map_err(|error| {
                if error.is_timeout() { Fault::Timeout(self.address.clone()) } else { Fault::Redis(error) }
            }),
            Err(_) => Err(Fault::Timeout(self.address.clone())),
        }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address)
    }
}

/// Delays between attempts to connect, which double up to a bound, each with a random part: nodes
/// that lost the same server do not all return at the same moment.
#[derive(Debug)]
pub(crate) struct Retry(Duration);

impl Retry {
    pub(crate) fn new() -> Self {
        Self(FIRST_RETRY)
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(random_between(self.0 / 2, self.0)).await;
        self.0 = (self.0 * 2).min(LAST_RETRY);
    }
}
