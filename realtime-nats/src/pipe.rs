use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use realtime_core::NodeId;
use realtime_core::spi::{Backoff, Incarnation, Stored};
use tokio::time::timeout;

use crate::api::RESPONSE;
use crate::connector::{Connection, Connector, RETRY};
use crate::error::Fault;

/// A subscription on a connection of its own, made anew when it breaks; what was published
/// meanwhile is lost.
struct Subscription {
    connector: Connector,
    subjects: Vec<String>,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    /// One for each subject, with its next message, if that is known.
    messages: Vec<(Subscriber, Option<Message>)>,
}

/// The header with a publisher and the number of its message: what one node publishes to all and to
/// one is on two subjects, and returned in order.
const ORDER: &str = "Realtime-Order";

/// The numbers of a publisher's messages.
#[derive(Debug)]
pub(crate) struct Numbers {
    publisher: u64,
    next: AtomicU64,
}

impl Numbers {
    pub(crate) fn new() -> Self {
        Self { publisher: Incarnation::random().get(), next: AtomicU64::new(0) }
    }

    /// Returns the headers of the next message.
    pub(crate) fn next(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        headers.insert(ORDER, format!("{:016x}.{number}", self.publisher));
        headers
    }
}

/// Returns a message's publisher and its number.
fn order(message: &Message) -> Option<(&str, u64)> {
    let (publisher, number) = message.headers.as_ref()?.get(ORDER)?.as_str().split_once('.')?;
    Some((publisher, number.parse().ok()?))
}

impl Open {
    /// Waits for the next message; `None` when the connection is closed.
    async fn next(&mut self) -> Option<Message> {
        poll_fn(|context| {
            // Twice: an earlier one may have arrived while the others were looked at.
            for _ in 0..2 {
                for (subscriber, next) in &mut self.messages {
                    if next.is_none()
                        && let Poll::Ready(message) = subscriber.poll_next_unpin(context)
                    {
                        let Some(message) = message else { return Poll::Ready(None) };
                        *next = Some(message);
                    }
                }
            }
            let waiting = self.messages.iter_mut().filter(|(_, next)| next.is_some());
            let first = waiting.reduce(|one, other| if is_before(&other.1, &one.1) { other } else { one });
            first.and_then(|(_, next)| next.take()).map_or(Poll::Pending, |message| Poll::Ready(Some(message)))
        })
        .await
    }
}

/// Returns whether a message was published before another one by the same publisher.
fn is_before(one: &Option<Message>, other: &Option<Message>) -> bool {
    let order = |message: &'_ Option<Message>| {
        message.as_ref().and_then(order).map(|(publisher, number)| (publisher.to_owned(), number))
    };
    match (order(one), order(other)) {
        (Some((one, before)), Some((other, after))) => one == other && before < after,
        _ => false,
    }
}

/// Subscribes to subjects, and returns what is published from then on.
pub(crate) async fn subscribe(
    connector: Connector,
    subjects: Vec<String>,
) -> Result<BoxStream<'static, Stored>, Fault> {
    let open = Some(open(&connector, &subjects).await?);
    let subscription = Subscription { connector, subjects, open };
    Ok(stream::unfold(subscription, |mut subscription| async move {
        let message = subscription.next().await;
        Some((Stored::from(message), subscription))
    })
    .boxed())
}

async fn open(connector: &Connector, subjects: &[String]) -> Result<Open, Fault> {
    let connection = connector.connect().await?;
    let mut messages = Vec::new();
    for subject in subjects {
        let subscribed = connection.client.subscribe(subject.clone()).await;
        let lost = |_| Fault::Disconnected(connection.address().to_owned());
        messages.push((subscribed.map_err(lost)?, None));
    }
    round_trip(&connection, &subjects[0]).await?;
    Ok(Open { connection, messages })
}

/// Waits until the server has handled everything that this connection was given before.
pub(crate) async fn round_trip(connection: &Connection, pipe: &str) -> Result<(), Fault> {
    let lost = || Fault::Disconnected(connection.address().to_owned());
    // As that of a node, so that it takes no other rights.
    let mark = format!("{pipe}.{}", NodeId::random());
    let there_and_back = async {
        let mut marks = connection.client.subscribe(mark.clone()).await.map_err(|_| lost())?;
        let sent = connection.client.publish(mark, Bytes::new()).await;
        sent.map_err(|error| Fault::of_publish(&error, connection.address()))?;
        marks.next().await.map(drop).ok_or_else(lost)
    };
    tokio::select! {
        biased;
        arrived = timeout(RESPONSE, there_and_back) => {
            arrived.unwrap_or_else(|_| Err(Fault::Timeout(connection.address().to_owned())))
        }
        () = connection.closed() => Err(lost()),
    }
}

impl Subscription {
    async fn next(&mut self) -> Bytes {
        loop {
            if let Some(message) = self.read().await {
                return message;
            }
            self.open = None;
            let mut backoff = Backoff::new(RETRY);
            while self.open.is_none() {
                backoff.wait().await;
                match open(&self.connector, &self.subjects).await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => tracing::debug!(%error, "no subscription to the pipe"),
                }
            }
            tracing::info!(address = self.connector.address(), "subscribed to the pipe again");
        }
    }

    /// Returns the next message; `None` when the connection is broken.
    async fn read(&mut self) -> Option<Bytes> {
        let open = self.open.as_mut()?;
        let connection = open.connection.clone();
        tokio::select! {
            biased;
            message = open.next() => message.map(|message| Bytes::copy_from_slice(&message.payload)),
            () = connection.closed() => None,
        }
    }
}
