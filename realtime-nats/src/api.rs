//! Requests to JetStream, as JSON: the same for servers from version 2.9 on.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Fault, code};

/// The longest time that NATS may take to accept a connection, or to answer.
pub(crate) const RESPONSE: Duration = Duration::from_millis(1500);

/// A message that is answered.
pub(crate) struct Request<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    /// The longest time until the answer.
    pub(crate) limit: Duration,
}

impl<'a> Request<'a> {
    /// Creates a request without headers, with the limit of all that need no other one.
    fn new(subject: &'a str, payload: impl Into<Bytes>) -> Self {
        Self { subject, headers: None, payload: payload.into(), limit: RESPONSE }
    }
}

/// A way to send requests.
pub(crate) trait Requests: Sync {
    /// Sends a message, and returns the answer.
    fn request(&self, request: Request<'_>) -> impl Future<Output = Result<Message, Fault>> + Send;
}

/// The answer to a stored message.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Stored {
    #[serde(rename = "seq")]
    pub(crate) sequence: u64,
    /// `true` if the stream already has a message with this id.
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// A stream's settings and extent.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StreamInfo {
    pub(crate) config: Value,
    pub(crate) state: StreamState,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    #[serde(default)]
    pub(crate) bytes: u64,
    first_seq: u64,
    #[serde(default)]
    first_ts: String,
    pub(crate) last_seq: u64,
}

impl StreamState {
    /// Returns the sequence before the oldest message.
    pub(crate) fn start(&self) -> u64 {
        if self.messages == 0 { self.last_seq } else { self.first_seq.saturating_sub(1) }
    }

    /// Returns the time of the oldest message.
    pub(crate) fn first_time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.first_ts, &Rfc3339).ok()
    }
}

/// A consumer that was created.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    /// The number of messages that it will deliver at once.
    #[serde(default)]
    pub(crate) num_pending: u64,
    #[serde(default)]
    pub(crate) delivered: Delivered,
}

/// The place before which a consumer begins.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) stream_seq: u64,
}

/// A message that was read by its sequence or subject.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) sequence: u64,
    headers: String,
    pub(crate) data: Bytes,
    pub(crate) time: OffsetDateTime,
}

#[derive(Deserialize)]
struct Encoded {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

impl Found {
    fn decode(encoded: &Encoded) -> Option<Self> {
        Some(Self {
            sequence: encoded.seq,
            headers: String::from_utf8(STANDARD.decode(&encoded.hdrs).ok()?).ok()?,
            data: STANDARD.decode(&encoded.data).ok()?.into(),
            time: OffsetDateTime::parse(&encoded.time, &Rfc3339).ok()?,
        })
    }

    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// Asks JetStream for something by the last part of the subject, and reads the answer.
pub(crate) async fn ask<T: DeserializeOwned>(
    requests: &impl Requests,
    what: &str,
    request: &(impl Serialize + Sync),
) -> Result<T, Fault> {
    let payload = serde_json::to_vec(request).map_err(|_| Fault::Unexpected("a request that cannot be written"))?;
    let answer = requests.request(Request::new(&format!("$JS.API.{what}"), payload)).await?;
    read(&answer.payload)
}

/// Reads an answer, which may be an error.
fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: u64,
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    let unreadable = |_| Fault::Unexpected("an answer that cannot be read");
    if let Answer { error: Some(problem) } = serde_json::from_slice(payload).map_err(unreadable)? {
        let code = if problem.err_code == 0 { problem.code } else { problem.err_code };
        return Err(Fault::Api { code, description: problem.description });
    }
    serde_json::from_slice(payload).map_err(unreadable)
}

/// Stores a message.
pub(crate) async fn store(
    requests: &impl Requests,
    subject: &str,
    headers: HeaderMap,
    payload: Bytes,
    limit: Duration,
) -> Result<Stored, Fault> {
    let request = Request { subject, headers: Some(headers), payload, limit };
    read(&requests.request(request).await?.payload)
}

/// Stores a message if the last one with its subject has this sequence, 0 for none.
pub(crate) async fn store_after(
    requests: &impl Requests,
    subject: &str,
    revision: u64,
    payload: Bytes,
    limit: Duration,
) -> Result<Option<u64>, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
    match store(requests, subject, headers, payload, limit).await {
        Ok(stored) => Ok(Some(stored.sequence)),
        Err(fault) if fault.has_code(code::WRONG_SEQUENCE) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Returns the message with a sequence, if the stream has it.
pub(crate) async fn message(requests: &impl Requests, stream: &str, sequence: u64) -> Result<Option<Found>, Fault> {
    find(requests, stream, json!({ "seq": sequence })).await
}

/// Returns the last message with a subject, if there is one.
///
/// Not while the stream may just be created: a server of version 2.9.10 then ends with a nil
/// pointer (in `jsMsgGetRequest`).
pub(crate) async fn last(requests: &impl Requests, stream: &str, subject: &str) -> Result<Option<Found>, Fault> {
    find(requests, stream, json!({ "last_by_subj": subject })).await
}

/// Returns the last message with a subject, if there is one, of a stream that another node may just
/// create.
pub(crate) async fn last_of_new(requests: &impl Requests, stream: &str, subject: &str) -> Result<Option<Found>, Fault> {
    // One that has messages is complete.
    if info(requests, stream).await?.state.messages == 0 {
        return Ok(None);
    }
    last(requests, stream, subject).await
}

/// Waits until a stream that may just be created is complete, since a consumer must not be created
/// before either.
pub(crate) async fn until_complete(requests: &impl Requests, stream: &str, subject: &str) -> Result<(), Fault> {
    if info(requests, stream).await?.state.messages == 0 {
        // What answers this is the last part of a stream. In a cluster it can be any of its
        // servers, so that nothing is read in this way.
        let request = json!({ "last_by_subj": subject }).to_string();
        requests.request(Request::new(&format!("$JS.API.DIRECT.GET.{stream}"), request)).await?;
    }
    Ok(())
}

async fn find(requests: &impl Requests, stream: &str, which: Value) -> Result<Option<Found>, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        message: Encoded,
    }
    match ask::<Answer>(requests, &format!("STREAM.MSG.GET.{stream}"), &which).await {
        Ok(answer) => {
            let found = Found::decode(&answer.message);
            found.map(Some).ok_or(Fault::Unexpected("a message that cannot be read"))
        }
        Err(fault) if fault.has_code(code::NO_MESSAGE) => Ok(None),
        Err(fault) => Err(fault),
    }
}

pub(crate) async fn info(requests: &impl Requests, stream: &str) -> Result<StreamInfo, Fault> {
    ask(requests, &format!("STREAM.INFO.{stream}"), &json!({})).await
}

/// Removes the messages before a sequence, of one subject or of all.
pub(crate) async fn purge(
    requests: &impl Requests,
    stream: &str,
    filter: Option<&str>,
    before: Option<u64>,
) -> Result<(), Fault> {
    let mut request = json!({});
    if let Some(filter) = filter {
        request["filter"] = filter.into();
    }
    if let Some(before) = before {
        request["seq"] = before.into();
    }
    ask::<Value>(requests, &format!("STREAM.PURGE.{stream}"), &request).await.map(drop)
}

/// Removes a stream; one that is not there is removed already.
pub(crate) async fn delete(requests: &impl Requests, stream: &str) -> Result<(), Fault> {
    match ask::<Value>(requests, &format!("STREAM.DELETE.{stream}"), &json!({})).await {
        Err(fault) if !fault.has_code(code::STREAM_NOT_FOUND) => Err(fault),
        _ => Ok(()),
    }
}

/// Returns the names of the streams that have subjects of this form.
pub(crate) async fn names(requests: &impl Requests, subjects: &str) -> Result<Vec<String>, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        streams: Option<Vec<String>>,
    }
    let answer: Answer = ask(requests, "STREAM.NAMES", &json!({ "subject": subjects })).await?;
    Ok(answer.streams.unwrap_or_default())
}
