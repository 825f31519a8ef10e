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
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Sleep;

use crate::values::connection::ConnectionId;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::InboundPayload;

/// What one connection did with an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckReply {
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's provider; empty where it is not said.
    pub provider: &'static str,
    /// Whether it answered.
    pub status: AckStatus,
    /// From the ask's delivery here to this outcome.
    pub elapsed: Duration,
    /// What it answered; empty JSON `null` unless answered.
    pub payload: InboundPayload,
}

/// How an ask ended for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum AckStatus {
    /// It answered in time.
    Answered,
    /// It has not answered yet, and it is not waited for any more, because more than [`crate::spi::MAX_OPEN_ASKS`] later ones were
    /// put to it.
    GivenUp,
    /// It went away before it answered.
    Gone,
    /// It was there and did not answer in time.
    TimedOut,
    /// It answered in time, with what cannot be read.
    Unreadable,
}

/// The answers to one ask, as a stream that ends when every matched connection has an outcome.
///
/// Dropping it ends the waiting; late answers are ignored.
pub struct Acks {
    ask: Arc<Ask>,
    /// `None` when nothing is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Called when nobody waits any more.
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
    /// Others that come in between, each from a provider of this name.
    others: Vec<(&'static str, Acks)>,
}

/// One ask under way on this node.
pub(crate) struct Ask {
    /// The position of its record, which clients answer with; 0 until it has been applied here.
    number: AtomicU64,
    state: Mutex<AskState>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct AskState {
    /// With their providers, and since when; bounded by the connections that matched.
    waiting: HashMap<ConnectionId, (&'static str, Instant)>,
    ready: VecDeque<AckReply>,
}

impl AckReply {
    /// An answer, for mocks.
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

    /// No answer, for mocks.
    pub fn unanswered(connection: ConnectionId, status: AckStatus, elapsed: Duration) -> Self {
        let payload = InboundPayload::json_text(Bytes::from_static(b"null"));
        Self { connection, provider: "", status, elapsed, payload }
    }

    /// The same outcome, of a connection of this provider.
    pub fn over(mut self, provider: &'static str) -> Self {
        self.provider = provider;
        self
    }

    /// What it answered, as a value.
    ///
    /// # Errors
    /// A [`HandlerError`] that says what does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HandlerError> {
        self.payload.json()
    }
}

impl Acks {
    pub(crate) fn new(ask: Arc<Ask>, deadline: Instant, on_drop: impl FnOnce() + Send + Sync + 'static) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        Self { ask, deadline, on_drop: Some(Box::new(on_drop)), others: Vec::new() }
    }

    /// Answers that are there already, for mocks.
    pub fn ready(replies: impl IntoIterator<Item = AckReply>) -> Self {
        let ask = Ask::new();
        ask.lock().ready.extend(replies);
        Self { ask: Arc::new(ask), deadline: None, on_drop: None, others: Vec::new() }
    }

    /// These, and those of another ask as they come, whose provider has this name where it does not say one.
    #[must_use]
    pub fn and(mut self, provider: &'static str, other: Self) -> Self {
        self.others.push((provider, other));
        self
    }

    /// The next outcome, as soon as it is known; `None` when there are no more.
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
        let mut end = self.poll_own(cx);
        if let Poll::Ready(Some(_)) = end {
            return end;
        }
        for (provider, other) in &mut self.others {
            match Pin::new(other).poll_next(cx) {
                Poll::Ready(Some(reply)) if reply.provider.is_empty() => {
                    return Poll::Ready(Some(reply.over(provider)));
                }
                Poll::Ready(Some(reply)) => return Poll::Ready(Some(reply)),
                Poll::Ready(None) => {}
                Poll::Pending => end = Poll::Pending,
            }
        }
        end
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
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
        Self { number: AtomicU64::new(0), state: Mutex::default(), waker: AtomicWaker::new() }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    pub(crate) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Release);
    }

    /// A connection is about to get the ask.
    pub(crate) fn expect(&self, connection: ConnectionId, provider: &'static str, now: Instant) {
        self.lock().waiting.insert(connection, (provider, now));
    }

    /// A connection answered, or went away; `false` if its outcome was known or not awaited.
    pub(crate) fn settle(&self, connection: ConnectionId, status: AckStatus, payload: Option<InboundPayload>) -> bool {
        let mut state = self.lock();
        let Some((provider, since)) = state.waiting.remove(&connection) else { return false };
        let mut reply = AckReply::unanswered(connection, status, since.elapsed()).over(provider);
        if let Some(payload) = payload {
            reply.payload = payload;
        }
        state.ready.push_back(reply);
        drop(state);
        self.waker.wake();
        true
    }

    /// The next outcome; `Some(None)` when there are no more to come, `None` when one has to wait.
    fn next(&self) -> Option<Option<AckReply>> {
        let mut state = self.lock();
        match state.ready.pop_front() {
            Some(reply) => Some(Some(reply)),
            None => state.waiting.is_empty().then_some(None),
        }
    }

    fn time_out(&self) {
        let mut state = self.lock();
        let late: Vec<_> = state.waiting.drain().collect();
        state.ready.extend(late.into_iter().map(|(id, (provider, since))| {
            AckReply::unanswered(id, AckStatus::TimedOut, since.elapsed()).over(provider)
        }));
    }

    fn lock(&self) -> MutexGuard<'_, AskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
