use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use futures_util::task::AtomicWaker;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Sleep;

use crate::values::ack_counters::AckCounters;
use crate::values::connection::ConnectionId;
use crate::values::event_id::EventId;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::InboundPayload;
use crate::values::node::NodeId;

/// The outcome of an ask for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckReply {
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's provider; empty if unknown.
    pub provider: &'static str,
    /// The kind of outcome.
    pub status: AckStatus,
    /// The time from the ask's delivery on this node to this outcome.
    pub elapsed: Duration,
    /// The answer; JSON `null` unless answered.
    pub payload: InboundPayload,
}

/// The kind of outcome of an ask for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AckStatus {
    /// An answer in time.
    Answered,
    /// No answer yet, and none awaited any longer, because more than [`crate::spi::MAX_OPEN_ASKS`]
    /// later asks were sent to the connection.
    GivenUp,
    /// A close of the connection before an answer.
    Gone,
    /// The end of the connection's node, or of its lease, before an answer.
    NodeLost,
    /// No answer in time from an open connection.
    TimedOut,
    /// An answer in time whose payload cannot be read.
    Unreadable,
}

/// The answers to one ask, as a stream that ends when every matched connection has an outcome.
///
/// Dropping the stream cancels the ask; late answers are ignored.
pub struct Acks {
    ask: Arc<Ask>,
    /// The deadline; `None` when nothing is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Called when the answers are no longer awaited.
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
    /// The id of the ask.
    id: Option<EventId>,
    /// The streams whose answers are merged into this one, each from a provider of this name.
    others: Vec<(&'static str, Acks)>,
}

/// The outcome that is counted for a connection whose outcome was not waited for.
const ABANDONED: &str = "abandoned";

/// A pending ask of this node, or one of another node that this one collects the answers of.
pub(crate) struct Ask {
    /// The position of the ask's record, which clients answer with; 0 until the record has been
    /// applied here.
    number: AtomicU64,
    state: Mutex<AskState>,
    waker: AtomicWaker,
    /// Counts the outcomes, on the node that asks.
    counters: Option<Arc<AckCounters>>,
    /// The span of the ask, on the node that asks.
    span: tracing::Span,
}

#[derive(Default)]
struct AskState {
    /// The connections that have not answered; bounded by those that matched on this node, and by
    /// those that other nodes name.
    waiting: HashMap<ConnectionId, Expected>,
    ready: VecDeque<AckReply>,
    /// `true` while other nodes may have matched connections that are not known here yet.
    awaits_nodes: bool,
}

/// A connection that has not answered.
struct Expected {
    provider: &'static str,
    since: Instant,
    /// The connection's node, if it is another one.
    node: Option<NodeId>,
}

impl AckStatus {
    /// Returns the name under which the outcome is counted.
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::GivenUp => "given_up",
            Self::Gone => "gone",
            Self::NodeLost => "node_lost",
            Self::TimedOut => "timed_out",
            Self::Unreadable => "unreadable",
        }
    }
}

impl AckReply {
    /// Creates an answer, for mocks.
    ///
    /// # Errors
    /// [`crate::Error::InvalidPayload`] when the value has no JSON form.
    pub fn answered<T: Serialize + ?Sized>(
        connection: ConnectionId,
        elapsed: Duration,
        value: &T,
    ) -> crate::values::error::Result<Self> {
        let payload = InboundPayload::json_text(crate::values::event::Payload::json(value)?.bytes().clone());
        Ok(Self { connection, provider: "", status: AckStatus::Answered, elapsed, payload })
    }

    /// Creates an outcome without an answer, for mocks.
    #[must_use]
    pub fn unanswered(connection: ConnectionId, status: AckStatus, elapsed: Duration) -> Self {
        let payload = InboundPayload::json_text(Bytes::from_static(b"null"));
        Self { connection, provider: "", status, elapsed, payload }
    }

    /// Sets the connection's provider.
    #[must_use]
    pub fn with_provider(mut self, provider: &'static str) -> Self {
        self.provider = provider;
        self
    }

    /// Returns the answer as a value.
    ///
    /// # Errors
    /// A [`HandlerError`] that says why the payload does not fit the type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        self.payload.json()
    }
}

impl Acks {
    pub(crate) fn new(ask: Arc<Ask>, deadline: Instant, on_drop: impl FnOnce() + Send + Sync + 'static) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        Self { ask, deadline, on_drop: Some(Box::new(on_drop)), id: None, others: Vec::new() }
    }

    /// Creates a stream of answers that have already arrived, for mocks.
    pub fn ready(replies: impl IntoIterator<Item = AckReply>) -> Self {
        let ask = Ask::new();
        ask.lock().ready.extend(replies);
        Self { ask: Arc::new(ask), deadline: None, on_drop: None, id: None, others: Vec::new() }
    }

    /// Merges the answers of another ask into this stream; replies that name no provider get this
    /// name.
    #[must_use]
    pub fn and(mut self, provider: &'static str, other: Self) -> Self {
        self.others.push((provider, other));
        self
    }

    /// Sets the id of the ask.
    pub(crate) fn with_id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Returns the id of the ask, as of a send's receipt; `None` for mocks.
    #[must_use]
    pub fn id(&self) -> Option<EventId> {
        self.id
    }

    /// Returns the next outcome as soon as it is known; `None` when there are no more.
    pub async fn next(&mut self) -> Option<AckReply> {
        StreamExt::next(self).await
    }

    /// Waits for every outcome.
    pub async fn all(self) -> Vec<AckReply> {
        self.collect().await
    }
}

impl Acks {
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<Option<AckReply>> {
        self.ask.waker.register(cx.waker());
        if let Some(next) = self.ask.next() {
            return Poll::Ready(next);
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        self.ask.time_out();
        Poll::Ready(self.ask.next().flatten())
    }
}

impl Stream for Acks {
    type Item = AckReply;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AckReply>> {
        let mut result = self.poll_own(cx);
        if let Poll::Ready(Some(_)) = result {
            return result;
        }
        for (provider, other) in &mut self.others {
            match Pin::new(other).poll_next(cx) {
                Poll::Ready(Some(reply)) if reply.provider.is_empty() => {
                    return Poll::Ready(Some(reply.with_provider(provider)));
                }
                Poll::Ready(Some(reply)) => return Poll::Ready(Some(reply)),
                Poll::Ready(None) => {}
                Poll::Pending => result = Poll::Pending,
            }
        }
        result
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
        self.ask.abandon();
    }
}

impl std::fmt::Debug for Acks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.ask.lock();
        f.debug_struct("Acks").field("waiting", &state.waiting.len()).field("ready", &state.ready.len()).finish()
    }
}

impl Ask {
    pub(crate) fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            counters: None,
            span: tracing::Span::none(),
        }
    }

    /// Creates an ask whose outcomes are counted.
    pub(crate) fn counted(counters: Arc<AckCounters>) -> Self {
        Self { counters: Some(counters), ..Self::new() }
    }

    /// Sets the span in which the outcomes are events.
    pub(crate) fn with_span(self, span: tracing::Span) -> Self {
        Self { span, ..self }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(crate) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Release);
    }

    /// Adds a connection to which the ask is about to be delivered.
    pub(crate) fn expect(&self, connection: ConnectionId, provider: &'static str, now: Instant) {
        self.lock().waiting.insert(connection, Expected { provider, since: now, node: None });
    }

    /// Returns up to `most` of the connections that have not answered, with their providers.
    pub(crate) fn waiting(&self, most: usize) -> Vec<(ConnectionId, &'static str)> {
        self.lock().waiting.iter().take(most).map(|(id, expected)| (*id, expected.provider)).collect()
    }

    /// Sets whether other nodes may have matched connections that are not known here yet.
    pub(crate) fn set_awaits_nodes(&self, awaits: bool) {
        self.lock().awaits_nodes = awaits;
        self.waker.wake();
    }

    /// Adds a connection of another node to which the ask was delivered.
    pub(crate) fn expect_at(&self, node: NodeId, connection: ConnectionId, provider: &'static str) {
        let expected = Expected { provider, since: Instant::now(), node: Some(node) };
        self.lock().waiting.insert(connection, expected);
    }

    /// Adds the outcome of a connection of another node.
    pub(crate) fn settle_at(&self, reply: AckReply) {
        let mut state = self.lock();
        state.waiting.remove(&reply.connection);
        self.finish(&mut state, reply);
        drop(state);
        self.waker.wake();
    }

    /// Settles the connections of a node from which no more outcomes come.
    pub(crate) fn lose_node(&self, node: NodeId) {
        let mut state = self.lock();
        let lost: Vec<_> = state.waiting.extract_if(|_, expected| expected.node == Some(node)).collect();
        lost.into_iter().for_each(|(id, expected)| self.finish(&mut state, expected.reply(id, AckStatus::NodeLost)));
        drop(state);
        self.waker.wake();
    }

    /// Records the outcome of a connection; returns `false` if it was known already or not awaited.
    pub(crate) fn settle(&self, connection: ConnectionId, status: AckStatus, payload: Option<InboundPayload>) -> bool {
        let mut state = self.lock();
        let Some(expected) = state.waiting.remove(&connection) else { return false };
        let mut reply = expected.reply(connection, status);
        if let Some(payload) = payload {
            reply.payload = payload;
        }
        self.finish(&mut state, reply);
        drop(state);
        self.waker.wake();
        true
    }

    /// Returns the next outcome; `Some(None)` when there are no more to come, `None` when the
    /// caller has to wait.
    fn next(&self) -> Option<Option<AckReply>> {
        let mut state = self.lock();
        match state.ready.pop_front() {
            Some(reply) => Some(Some(reply)),
            None => (state.waiting.is_empty() && !state.awaits_nodes).then_some(None),
        }
    }

    fn time_out(&self) {
        let mut state = self.lock();
        let late: Vec<_> = state.waiting.drain().collect();
        late.into_iter().for_each(|(id, expected)| self.finish(&mut state, expected.reply(id, AckStatus::TimedOut)));
        state.awaits_nodes = false;
    }

    /// Adds an outcome, and counts it.
    fn finish(&self, state: &mut AskState, reply: AckReply) {
        if let Some(counters) = &self.counters {
            let answered = (reply.status == AckStatus::Answered).then_some(reply.elapsed);
            counters.count(reply.provider, reply.status.name(), answered);
        }
        self.log(reply.connection, reply.provider, reply.status.name(), reply.elapsed);
        state.ready.push_back(reply);
    }

    /// Forgets the connections that have no outcome: nothing waits for it any longer.
    fn abandon(&self) {
        let Some(counters) = &self.counters else { return };
        self.lock().waiting.drain().for_each(|(id, expected)| {
            counters.count(expected.provider, ABANDONED, None);
            self.log(id, expected.provider, ABANDONED, expected.since.elapsed());
        });
    }

    /// Logs an outcome in the span of the ask.
    fn log(&self, connection: ConnectionId, provider: &str, outcome: &str, elapsed: Duration) {
        if !self.span.is_disabled() {
            let (span, elapsed_ms) = (&self.span, elapsed.as_secs_f64() * 1_000.0);
            tracing::debug!(target: "realtime_core", parent: span, %connection, provider, outcome, elapsed_ms, "ack");
        }
    }

    fn lock(&self) -> MutexGuard<'_, AskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    fn reply(&self, connection: ConnectionId, status: AckStatus) -> AckReply {
        AckReply::unanswered(connection, status, self.since.elapsed()).with_provider(self.provider)
    }
}
