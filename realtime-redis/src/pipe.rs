use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::spi::{Backoff, Stored};
use redis::ConnectionInfo;
use redis::aio::{PubSubSink, PubSubStream};

use crate::connector::{Connector, RETRY};
use crate::error::Fault;
use crate::limit::RESPONSE;

/// The interval between the pings that notice a broken subscription.
const PING: Duration = Duration::from_secs(2);

/// A subscription on a connection of its own, made anew when it breaks; what was published
/// meanwhile is lost.
struct Subscription {
    connector: Connector,
    channels: Vec<String>,
    /// The address of the server.
    address: String,
    connection: Option<(PubSubSink, PubSubStream)>,
}

/// Subscribes to channels, and returns what is published from then on.
pub(crate) async fn subscribe(
    connector: Connector,
    channels: Vec<String>,
) -> Result<BoxStream<'static, Stored>, Fault> {
    let (address, connection) = connector.subscribe(&channels).await?;
    let subscription = Subscription { connector, channels, address, connection: Some(connection.split()) };
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
            let mut backoff = Backoff::new(RETRY);
            while self.connection.is_none() {
                backoff.wait().await;
                match self.connector.subscribe(&self.channels).await {
                    Ok((address, connection)) => {
                        self.address = address;
                        self.connection = Some(connection.split());
                    }
                    Err(error) => tracing::debug!(%error, "no subscription to the pipe"),
                }
            }
            tracing::info!(address = %self.address, "subscribed to the pipe again");
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
                    // A primary that was cut off from the others has subscribers of its own.
                    let moved = |primary: ConnectionInfo| primary.addr().to_string() != self.address;
                    if self.connector.can_move() && self.connector.locate().await.is_ok_and(moved) {
                        return None;
                    }
                    let answer = self.connector.within(RESPONSE, sink.ping::<redis::Value>()).await;
                    if answer.is_err() {
                        return None;
                    }
                }
            }
        }
    }
}
