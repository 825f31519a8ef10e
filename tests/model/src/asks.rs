//! The results of asks: each connection that received one is listed once, with its answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_core::{AckReply, AckStatus, Acks};
use tokio::time::Instant;

use crate::lock;
use crate::log::LATE;
use crate::reference::Reference;
use crate::schedule::Answer;

/// The asks under way.
#[derive(Default)]
pub(crate) struct Asks {
    waiting: Vec<Waiting>,
    finished: Arc<Mutex<Vec<Finished>>>,
}

/// The number of an ask that has finished, and its replies.
type Finished = (u64, Vec<AckReply>);

struct Waiting {
    number: u64,
    until: Instant,
    /// The connections that it may match; `true` for those that it must match.
    matching: Vec<(usize, bool)>,
}

impl Asks {
    /// Registers an ask whose record is the log's last.
    pub(crate) fn begin(&mut self, reference: &Reference, number: u64, timeout: Duration) {
        let log = reference.log();
        let matching = reference.matching(|conn| log.sees(&conn.viewer, log.end()));
        let matching = matching.map(|(serial, _, must_match)| (serial, must_match)).collect();
        self.waiting.push(Waiting { number, until: Instant::now() + timeout, matching });
    }

    /// Waits for the answers.
    pub(crate) fn collect(&self, number: u64, acks: Acks) {
        let finished = Arc::clone(&self.finished);
        tokio::spawn(async move {
            let replies = acks.all().await;
            lock(&finished).push((number, replies));
        });
    }

    /// Returns when the last one times out.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.until).max()
    }

    /// Checks those that have finished.
    ///
    /// # Errors
    /// When a result is wrong.
    pub(crate) fn check(&mut self, reference: &mut Reference) -> Result<(), String> {
        let finished = std::mem::take(&mut *lock(&self.finished));
        for (number, replies) in finished {
            let at = self.waiting.iter().position(|waiting| waiting.number == number);
            let waiting = self.waiting.swap_remove(at.ok_or("an unknown ask finished")?);
            check_replies(reference, &waiting, &replies).map_err(|what| format!("the ask n={number}: {what}"))?;
        }
        match self.waiting.iter().find(|waiting| waiting.until.elapsed() > LATE) {
            Some(waiting) => Err(format!("the ask n={} does not end", waiting.number)),
            None => Ok(()),
        }
    }
}

fn check_replies(reference: &mut Reference, waiting: &Waiting, replies: &[AckReply]) -> Result<(), String> {
    let mut named = Vec::new();
    for reply in replies {
        let id = reply.connection.to_string();
        let serial = reference.conns.iter().position(|conn| conn.viewer.connection.as_ref() == Some(&id));
        let serial = serial.ok_or("an unknown connection is named")?;
        if !waiting.matching.iter().any(|(matching, _)| *matching == serial) || named.contains(&serial) {
            return Err(format!("#{serial} is named, which it does not match, or twice"));
        }
        named.push(serial);
        let conn = &reference.conns[serial];
        let asked = conn.asks.get(&waiting.number).copied().unwrap_or_default();
        // An answer that has arrived in time counts, unless the connection finished before.
        let in_time = asked.arrived.is_some_and(|at| at + LATE < waiting.until);
        let right = match reply.status {
            AckStatus::Answered => {
                asked.answered.is_some_and(|at| at <= waiting.until)
                    && reply.payload.bytes() == answer(serial, waiting.number).as_bytes()
            }
            AckStatus::Gone => conn.may_end() && !in_time,
            AckStatus::TimedOut => !in_time && conn.unregistered_at.is_none_or(|at| at + LATE > waiting.until),
            // No client of the model sends an unreadable answer, and no schedule has so many asks
            // that some are dropped.
            _ => false,
        };
        if !right {
            let (gone, until) = (conn.unregistered_at, waiting.until);
            return Err(format!("#{serial} {reply:?}: {asked:?}, gone at {gone:?}, until {until:?}"));
        }
        reference.cover(match reply.status {
            AckStatus::Answered => "ask answered",
            AckStatus::Gone => "ask gone",
            _ => "ask timed out",
        });
    }
    match waiting.matching.iter().find(|(serial, must_match)| *must_match && !named.contains(serial)) {
        Some((serial, _)) => Err(format!("#{serial} is not named")),
        None => Ok(()),
    }
}

/// Returns the answer of a connection.
pub(crate) fn answer(serial: usize, number: u64) -> String {
    format!("{{\"of\":{serial},\"to\":{number}}}")
}

/// Returns how a client answers an ask that has drawn this number.
pub(crate) fn manner(answers: u16, client: usize) -> Answer {
    match answers / 3u16.pow(client as u32) % 3 {
        0 => Answer::Now,
        1 => Answer::Late,
        _ => Answer::Never,
    }
}
