use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::spi::Stored;
use redis::aio::{PubSubSink, PubSubStream};

use crate::connector::{Connector, RESPONSE, Retry};
use crate::error::Fault;

/// The interval between the pings that notice a broken subscription.
const PING: Duration = Duration::from_secs(2);

/// A subscription on a connection of its own, made anew when it breaks; what was published
/// meanwhile is lost.
struct Subscription {
    connector: Connector,
    channels: Vec<String>,
    connection: Option<(PubSubSink, PubSubStream)>,
}

/// Subscribes to channels, and returns what is published from then on.
pub(crate) async fn subscribe(
    connector: Connector,
    channels: Vec<String>,
) -> Result<BoxStream<'static, Stored>, Fault> {
    let connection = Some(connector.subscribe(&channels).await?.split());
    let subscription = Subscription { connector, channels, connection };
    Ok(stream::unfold(subscription, |mut subscription| async move {
        let message = subscription.next().await;
        Some((Stored::from(message), subscription))
    })
    .boxed())
}

impl Subscription {
    async fn next(&mut self) -> Bytes {
        loop {
            if let Some(message) = self.read().await {
                return message;
            }
            self.connection = None;
            let mut retry = Retry::new();
            while self.connection.is_none() {
                retry.wait().await;
                match self.connector.subscribe(&self.channels).await {
                    Ok(connection) => self.connection = Some(connection.split()),
                    Err(error) => tracing::debug!(%error, "no subscription to the pipe"),
                }
            }
            tracing::info!(address = %self.connector.address, "subscribed to the pipe again");
        }
    }

    /// Returns the next message; `None` when the connection is broken.
    async fn read(&mut self) -> Option<Bytes> {
        let (sink, messages) = self.connection.as_mut()?;
        loop {
            tokio::select! {
                biased;
                message = messages.next() => return message.map(|message| Bytes::copy_from_slice(message.get_payload_bytes())),
                () = tokio::time::sleep(PING) => {
                    let answer = self.connector.within(RESPONSE, sink.ping::<redis::Value>()).await;
                    if answer.is_err() {
                        return None;
                    }
                }
            }
        }
    }
}
