//! The application's calls at nodes, and whether their outcomes are right.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_core::spi::Dispatcher;
use realtime_core::{AckReply, AckStatus, CloseReason, ConnectionId, Error, Event, EventId, RealtimeBroadcast};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::lock;
use crate::nodes::node::{NodeCodec, target};
use crate::nodes::schedule::To;
use crate::nodes::truth::{Content, Truth};

/// The first code of the closes of the model.
pub(crate) const FIRST_CODE: u16 = 4_100;
/// The most attempts to send one event.
pub(crate) const ATTEMPTS: usize = 4;

/// An outcome of a call.
#[derive(Clone, Debug)]
pub(crate) enum Outcome<T> {
    Ok(T),
    /// Certain: nothing was appended.
    Refused(#[expect(dead_code, reason = "shown when a check fails")] String),
    Unknown,
}

/// A receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    id: EventId,
    position: u64,
    pub(crate) repeated: bool,
}

/// A call that has ended.
pub(crate) enum Done {
    Ask { number: u64, outcome: Outcome<Vec<AckReply>> },
    Close { code: u16, outcome: Outcome<usize> },
    Room,
    Send { number: u64, attempt: usize, outcome: Outcome<Sent> },
}

/// The calls that have ended since the last look.
#[derive(Clone, Default)]
pub(crate) struct Ended(Arc<Mutex<Vec<Done>>>);

/// One attempt to send an event.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) node: usize,
    pub(crate) begun: Instant,
    pub(crate) outcome: Option<Outcome<Sent>>,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) to: To,
    pub(crate) key: bool,
    pub(crate) retry: usize,
    pub(crate) attempts: Vec<Attempt>,
}

/// A question, and what its connections did.
pub(crate) struct Question {
    pub(crate) node: usize,
    pub(crate) begun: Instant,
    pub(crate) timeout: Duration,
    /// The connections that received it, by their numbers, and when each answered.
    pub(crate) received: BTreeMap<usize, Option<Instant>>,
}

/// A close, and the connections that it has reached.
pub(crate) struct Closing {
    pub(crate) node: usize,
    pub(crate) begun: Instant,
    pub(crate) ended: Option<(Instant, Outcome<usize>)>,
    /// The number of connections that were seen to be closed by it.
    pub(crate) reached: usize,
}

/// Everything that is known about the connection of an ask.
pub(crate) struct Asked {
    pub(crate) id: ConnectionId,
    pub(crate) number: usize,
    /// When the connection ended.
    pub(crate) until: Option<Instant>,
    /// `true` if nothing failed for its node.
    pub(crate) is_calm: bool,
    /// `true` if it was certainly open when its node applied the ask, and the ask is for it.
    pub(crate) must_receive: bool,
}

impl Ended {
    pub(crate) fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *lock(&self.0))
    }

    fn add(&self, done: Done) {
        lock(&self.0).push(done);
    }

    pub(crate) fn send(
        &self,
        dispatcher: &Arc<Dispatcher<NodeCodec>>,
        number: u64,
        message: &Message,
        delay: Duration,
    ) {
        let (ended, dispatcher, to) = (self.clone(), dispatcher.unowned(), message.to);
        let (key, attempt) = (message.key, message.attempts.len() - 1);
        tokio::spawn(async move {
            sleep(delay).await;
            let event = Event::json("n", &json!({ "n": number }));
            let event = event.map(|event| if key { event.with_idempotency_key(format!("k{number}")) } else { event });
            let sent = match event {
                Ok(event) => dispatcher.send(target(to), event).await,
                Err(error) => Err(error),
            };
            let outcome = outcome(sent.map(|receipt| Sent {
                id: receipt.id,
                position: receipt.position.map_or(0, |position| position.get()),
                repeated: receipt.repeated(),
            }));
            ended.add(Done::Send { number, attempt, outcome });
        });
    }

    pub(crate) fn ask(&self, dispatcher: &Arc<Dispatcher<NodeCodec>>, number: u64, to: To, timeout: Duration) {
        let (ended, dispatcher) = (self.clone(), dispatcher.unowned());
        tokio::spawn(async move {
            let asked = match Event::json("q", &json!({ "n": number })) {
                Ok(event) => dispatcher.ask(target(to), event, timeout).await,
                Err(error) => Err(error),
            };
            let replies = match asked {
                Ok(acks) => Ok(acks.all().await),
                Err(error) => Err(error),
            };
            ended.add(Done::Ask { number, outcome: outcome(replies) });
        });
    }

    pub(crate) fn close(&self, dispatcher: &Arc<Dispatcher<NodeCodec>>, code: u16, to: To) {
        let (ended, dispatcher) = (self.clone(), dispatcher.unowned());
        tokio::spawn(async move {
            let closed = dispatcher.close(target(to), CloseReason::new(code, "closed", true)).await;
            ended.add(Done::Close { code, outcome: outcome(closed) });
        });
    }

    pub(crate) fn room(&self, call: impl Future<Output = realtime_core::Result<()>> + Send + 'static) {
        let ended = self.clone();
        tokio::spawn(async move {
            let _ = call.await;
            ended.add(Done::Room);
        });
    }
}

fn outcome<T>(result: Result<T, Error>) -> Outcome<T> {
    match result {
        Ok(value) => Outcome::Ok(value),
        Err(Error::OutcomeUnknown { .. }) => Outcome::Unknown,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

impl Message {
    /// Checks the records of the event against its outcomes, none of which is open.
    ///
    /// A key is known for the age.
    pub(crate) fn check(&self, number: u64, truth: &Truth, age: Duration) -> Result<(), String> {
        let records = truth.by_number.get(&number).map_or(&[] as &[usize], Vec::as_slice);
        let outcomes = || self.attempts.iter().filter_map(|attempt| attempt.outcome.as_ref());
        if outcomes().all(|outcome| matches!(outcome, Outcome::Refused(_))) && !records.is_empty() {
            return Err(format!("event {number} was refused, and is in the log: {self:?}"));
        }
        for sent in outcomes().filter_map(|outcome| if let Outcome::Ok(sent) = outcome { Some(sent) } else { None }) {
            let [.., a, b, c, d] = sent.id.to_bytes();
            let place = truth.find(sent.position, u32::from_be_bytes([a, b, c, d]).max(1)).flatten();
            if !place.is_some_and(|place| records.contains(&place)) {
                return Err(format!("the receipt {sent:?} of event {number} names another record"));
            }
        }
        for (at, record) in records.iter().enumerate() {
            let again = &truth.records[*record];
            let is_again = |earlier: &usize| {
                let first = &truth.records[*earlier];
                let is_known = first.epoch == again.epoch && first.at + age > again.at;
                is_known && truth.path(Some(*earlier), Some(*record)).is_some()
            };
            if records[..at].iter().any(is_again) {
                return Err(format!("event {number} is in the log twice: {self:?}"));
            }
        }
        Ok(())
    }
}

impl Question {
    /// Checks the outcome of an ask that has just ended; `is_calm` if nothing failed for the asker
    /// and the log.
    pub(crate) fn check(
        &self,
        number: u64,
        outcome: &Outcome<Vec<AckReply>>,
        is_calm: bool,
        conns: &[Asked],
    ) -> Result<Vec<&'static str>, String> {
        if self.begun.elapsed() > self.timeout + Duration::from_secs(6) {
            return Err(format!("ask {number} ended after {:?}", self.begun.elapsed()));
        }
        let Outcome::Ok(replies) = outcome else {
            return if is_calm { Err(format!("ask {number} failed: {outcome:?}")) } else { Ok(vec!["ask failed"]) };
        };
        let mut seen = HashSet::new();
        if let Some(twice) = replies.iter().find(|reply| !seen.insert(reply.connection)) {
            return Err(format!("ask {number} has two outcomes of one connection: {twice:?}"));
        }
        let mut reached = Vec::new();
        for reply in replies {
            let conn = conns.iter().find(|conn| conn.id == reply.connection);
            let conn =
                conn.ok_or_else(|| format!("ask {number} has an outcome of an unknown connection: {reply:?}"))?;
            let answered = self.received.get(&conn.number).copied().flatten();
            if reply.status == AckStatus::Answered && answered.is_none() {
                return Err(format!("ask {number} has an answer that nobody gave: {reply:?}"));
            }
            reached.push(status_name(reply.status));
        }
        if is_calm && self.timeout >= Duration::from_secs(8) {
            conns.iter().filter(|conn| conn.is_calm).try_for_each(|conn| self.check_one(number, replies, conn))?;
            reached.push("ask of which every outcome was checked");
        }
        Ok(reached)
    }

    /// Checks the outcome of one connection, for whose node nothing failed.
    fn check_one(&self, number: u64, replies: &[AckReply], conn: &Asked) -> Result<(), String> {
        let Some(answered) = self.received.get(&conn.number) else {
            return if conn.must_receive {
                Err(format!("ask {number} was not received by {}", conn.number))
            } else {
                Ok(())
            };
        };
        let reply = replies.iter().find(|reply| reply.connection == conn.id);
        let reply = reply.ok_or_else(|| format!("ask {number} has no outcome of connection {}", conn.number))?;
        let safe = self.begun + self.timeout - Duration::from_millis(3_500);
        let wanted = match (answered, conn.until) {
            (Some(at), _) if *at < safe => AckStatus::Answered,
            (None, Some(until)) if until < safe => AckStatus::Gone,
            (None, None) => AckStatus::TimedOut,
            _ => return Ok(()),
        };
        if reply.status == wanted {
            return Ok(());
        }
        Err(format!("ask {number}: {reply:?} where {wanted:?} is right, of connection {}", conn.number))
    }
}

fn status_name(status: AckStatus) -> &'static str {
    match status {
        AckStatus::Answered => "ask: answered",
        AckStatus::Gone => "ask: gone",
        AckStatus::NodeLost => "ask: node lost",
        AckStatus::TimedOut => "ask: timed out",
        _ => "ask: another outcome",
    }
}

/// Returns whether a record is the close with this code.
pub(crate) fn is_close(content: &Content, wanted: u16) -> bool {
    matches!(content, Content::Close { code, .. } if *code == wanted)
}
