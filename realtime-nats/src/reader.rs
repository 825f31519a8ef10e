//! Reading the messages of a stream in order, through a pull consumer.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

use crate::api::{self, Consumer};
use crate::connector::Connection;
use crate::error::Fault;
use crate::streams::nanos;

/// The most messages of one pull, and of one batch.
pub(crate) const BATCH: usize = 512;
/// The bytes of a pull, unless one message can be larger.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// The time after which a pull ends, so that another one begins.
const EXPIRES: Duration = Duration::from_secs(5);
/// The interval of the signs of life while there is nothing to read.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The silence after which a consumer counts as lost.
const SILENCE: Duration = Duration::from_millis(2500);
/// The times that a pull of what is there is repeated in that silence.
const ASK_AGAIN: u32 = 9;
/// The time after which the server removes a consumer that nobody reads.
const ABANDONED: Duration = Duration::from_secs(10);

/// The place where reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// Behind a sequence.
    After(u64),
    /// With the first message that was stored at this time or later.
    Since(OffsetDateTime),
}

/// A reader of a stream's messages: a consumer in the server's memory, without acknowledgements.
/// Ends with the first error, and with each connection.
pub(crate) struct Reader {
    connection: Connection,
    stream: String,
    consumer: Consumer,
    inbox: String,
    messages: Subscriber,
    /// The messages that the current pull may still return.
    wanted: usize,
    pulls: u64,
    /// The most messages of one pull.
    batch: usize,
    /// `true` while only messages that are there are read.
    at_once: bool,
    /// `true` if the pull ended because nothing more is there.
    has_ended: bool,
}

/// The messages that have arrived, or the end of their pull.
enum Step {
    Messages(Vec<Read>),
    /// The end of a pull.
    End,
}

/// A message with its place.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) sequence: u64,
    /// The number of messages that the consumer has behind this one.
    pub(crate) pending: u64,
    pub(crate) message: Message,
}

impl Reader {
    /// Creates a consumer of a stream, of the messages with one subject or of all.
    pub(crate) async fn open(
        connection: Connection,
        stream: &str,
        start: Start,
        filter: Option<&str>,
    ) -> Result<Self, Fault> {
        let mut config = json!({
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": nanos(ABANDONED),
            "mem_storage": true,
            "num_replicas": 1,
        });
        match start {
            Start::After(0) => config["deliver_policy"] = "all".into(),
            Start::After(sequence) => {
                config["deliver_policy"] = "by_start_sequence".into();
                config["opt_start_seq"] = (sequence + 1).into();
            }
            Start::Since(time) => {
                let time = time.format(&Rfc3339).map_err(|_| Fault::Unexpected("a time that cannot be written"))?;
                config["deliver_policy"] = "by_start_time".into();
                config["opt_start_time"] = time.into();
            }
        }
        if let Some(filter) = filter {
            config["filter_subject"] = filter.into();
        }
        let inbox = connection.client.new_inbox();
        let subscribed = connection.client.subscribe(format!("{inbox}.*")).await;
        let messages = subscribed.map_err(|_| Fault::Disconnected(connection.address().to_owned()))?;
        let request = json!({ "stream_name": stream, "config": config });
        let consumer = api::ask(&connection, &format!("CONSUMER.CREATE.{stream}"), &request).await?;
        Ok(Self {
            connection,
            stream: stream.to_owned(),
            consumer,
            inbox,
            messages,
            wanted: 0,
            pulls: 0,
            batch: BATCH,
            at_once: false,
            has_ended: false,
        })
    }

    /// Returns the number of messages that were there when the reader was opened.
    pub(crate) fn pending(&self) -> u64 {
        self.consumer.num_pending
    }

    /// Returns the sequence before the place where reading began.
    pub(crate) fn begins_after(&self) -> u64 {
        self.consumer.delivered.stream_seq
    }

    /// Waits for messages, and returns those that have arrived.
    pub(crate) async fn next(&mut self) -> Result<Vec<Read>, Fault> {
        loop {
            if let Step::Messages(batch) = self.step().await? {
                return Ok(batch);
            }
        }
    }

    /// Reads up to this many of the messages that are there, and removes the consumer.
    pub(crate) async fn read_present(mut self, most: usize) -> Result<Vec<Read>, Fault> {
        (self.batch, self.at_once) = (most.clamp(1, BATCH), true);
        let mut all = Vec::new();
        let mut pending = self.consumer.num_pending;
        while pending > 0 && all.len() < most {
            let Step::Messages(batch) = self.step().await? else { break };
            pending = batch.last().map_or(0, |last| last.pending);
            all.extend(batch);
        }
        all.truncate(most);
        self.close().await;
        Ok(all)
    }

    async fn step(&mut self) -> Result<Step, Fault> {
        let mut asked_again = 0;
        loop {
            if self.wanted == 0 {
                self.pull().await?;
            }
            let mut batch = Vec::new();
            let mut message = match self.receive().await {
                // A consumer that counts messages which were dropped meanwhile says nothing at the
                // end of a pull; one without any says so to the next.
                Err(Fault::Timeout(_)) if self.at_once && asked_again < ASK_AGAIN => {
                    asked_again += 1;
                    self.wanted = 0;
                    continue;
                }
                message => Some(message?),
            };
            while let Some(next) = message {
                batch.extend(self.take(next)?);
                if batch.len() == BATCH || self.wanted == 0 {
                    break;
                }
                message = self.messages.next().now_or_never().flatten();
            }
            if !batch.is_empty() {
                return Ok(Step::Messages(batch));
            }
            if self.wanted == 0 && self.has_ended {
                return Ok(Step::End);
            }
        }
    }

    /// Removes the consumer, without waiting for it: one that stays is removed by the server.
    pub(crate) async fn close(self) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.consumer.name);
        if self.connection.check_open().is_ok() {
            let _ = self.connection.client.publish(subject, bytes::Bytes::new()).await;
        }
    }

    async fn pull(&mut self) -> Result<(), Fault> {
        self.connection.check_open()?;
        self.pulls += 1;
        let bytes = PULL_BYTES.max(2 * self.connection.client.max_payload());
        let mut request = json!({ "batch": self.batch, "max_bytes": bytes });
        if self.at_once {
            request["no_wait"] = true.into();
        } else {
            request["expires"] = nanos(EXPIRES).into();
            request["idle_heartbeat"] = nanos(HEARTBEAT).into();
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer.name);
        let published =
            self.connection.client.publish_with_reply(subject, self.reply(), request.to_string().into()).await;
        published.map_err(|error| Fault::of_publish(&error, self.connection.address()))?;
        (self.wanted, self.has_ended) = (self.batch, false);
        Ok(())
    }

    fn reply(&self) -> String {
        format!("{}.{}", self.inbox, self.pulls)
    }

    async fn receive(&mut self) -> Result<Message, Fault> {
        let lost = || Fault::Disconnected(self.connection.address().to_owned());
        let limit = if self.at_once { SILENCE / (ASK_AGAIN + 1) } else { SILENCE };
        tokio::select! {
            biased;
            message = timeout(limit, self.messages.next()) => match message {
                Ok(message) => message.ok_or_else(lost),
                Err(_) => Err(Fault::Timeout(self.connection.address().to_owned())),
            },
            () = self.connection.closed() => Err(lost()),
        }
    }

    /// Reads a message; `None` for what only says how the pull is doing.
    fn take(&mut self, message: Message) -> Result<Option<Read>, Fault> {
        let Some(status) = message.status else {
            self.wanted = self.wanted.saturating_sub(1);
            let place = message.reply.as_deref().and_then(place);
            let (sequence, pending) = place.ok_or(Fault::Unexpected("a message without its place"))?;
            return Ok(Some(Read { sequence, pending, message }));
        };
        if status == StatusCode::IDLE_HEARTBEAT || *message.subject != *self.reply() {
            return Ok(None);
        }
        let description = message.description.unwrap_or_default().to_lowercase();
        let is_full = description.contains("maxbytes") || description.contains("batch completed");
        if status == StatusCode::NOT_FOUND || status == StatusCode::TIMEOUT || is_full {
            (self.wanted, self.has_ended) = (0, !is_full);
            return Ok(None);
        }
        Err(Fault::Api { code: status.as_u16().into(), description })
    }
}

/// Returns the sequence in the subject for acknowledgements, and the number of messages behind it:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<delivery>.<time>.<pending>`, with domain
/// and account before the stream on servers that have them.
pub(crate) fn place(reply: &str) -> Option<(u64, u64)> {
    let parts: Vec<_> = reply.split('.').collect();
    let at = if parts.len() >= 11 { 7 } else { 5 };
    Some((parts.get(at)?.parse().ok()?, parts.get(at + 3)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn place_is_read_from_both_forms() {
        assert_eq!(place("$JS.ACK.log.c1.1.42.7.1700000000000000000.3"), Some((42, 3)));
        assert_eq!(place("$JS.ACK.hub.acc.log.c1.1.42.7.1700000000000000000.3.x"), Some((42, 3)));
        assert_eq!(place("_INBOX.x"), None);
    }
}
