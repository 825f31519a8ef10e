//! Deciding about the records that are due, one after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::offline::call::call;
use crate::delivery::offline::worker::Worker;
use crate::log::backplane::Entry;
use crate::log::record::{Body, Record};
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::offline_event::{OfflineEvent, OfflineReason};
use crate::values::position::Position;
use crate::values::target::{Scope, Target};

/// The records of one page.
const PAGE: usize = 64;
/// The records that are looked at before anything else has its turn.
const STEP: usize = 1_024;
/// The most asks whose answer is awaited for longer than the delay.
const MOST_WAITING: usize = 1_000;
/// The time that answers have, in addition to an ask's own, to arrive here.
const ANSWERS: Duration = Duration::from_secs(2);

/// The reason why records are not decided that the log has dropped.
const GONE: &str = "the log has dropped them";

/// The decision about a record.
enum Verdict {
    /// No call: the record is for no user, has or may have reached its user, or is gone.
    Done,
    /// A wait for the answers to the record, until this time.
    Wait(Instant),
    Call(OfflineEvent),
}

/// The turn in which a record is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The first time.
    First,
    /// After another node, which may have seen it earlier.
    Again,
    /// After its answers were awaited.
    Last,
}

impl Worker {
    /// Decides what is due, as far as calls may begin and a part of it at a time; returns whether
    /// there is more.
    pub(super) async fn decide(&mut self) -> bool {
        if self.work.is_none() || !self.log.is_up() || self.offline.life() != self.life {
            return false;
        }
        for _ in 0..STEP {
            let is_kept = self.work.as_ref().is_some_and(|work| work.is_kept);
            if !is_kept || self.calls.len() >= self.config.calls {
                return false;
            }
            match self.decide_next().await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    tracing::debug!(%error, "it could not be decided who is offline; trying again");
                    return false;
                }
            }
        }
        true
    }

    /// Decides about one record; returns whether one was due.
    async fn decide_next(&mut self) -> Result<bool> {
        let now = Instant::now();
        let Some(work) = &self.work else { return Ok(false) };
        if let Some((until, position)) = work.waiting.first().copied()
            && until <= now
        {
            self.look_at(position, Turn::Last).await?;
            return Ok(true);
        }
        if let Some(position) = work.again.front().copied() {
            self.look_at(position, Turn::Again).await?;
            return Ok(true);
        }
        if work.page.is_empty() && !self.read_page().await? {
            return Ok(false);
        }
        let Some(entry) = self.work.as_ref().and_then(|work| work.page.front().cloned()) else { return Ok(true) };
        let verdict = self.judge(&entry, Turn::First).await?;
        if let Some(work) = &mut self.work {
            work.page.pop_front();
            work.cursor = entry.position;
        }
        self.carry_out(entry.position, verdict);
        Ok(true)
    }

    /// Decides about a record that was looked at before.
    async fn look_at(&mut self, position: Position, turn: Turn) -> Result<()> {
        let found = self.log.page(position.previous(), 1).await?;
        let verdict = match found.first().filter(|entry| entry.position == position) {
            Some(entry) => self.judge(entry, turn).await?,
            None => {
                self.miss(1, GONE);
                Verdict::Done
            }
        };
        if let Some(work) = &mut self.work {
            work.again.retain(|again| *again != position);
            work.waiting.retain(|(_, waiting)| *waiting != position);
            work.is_changed = true;
        }
        self.carry_out(position, verdict);
        Ok(())
    }

    fn carry_out(&mut self, position: Position, verdict: Verdict) {
        let Some(work) = &mut self.work else { return };
        match verdict {
            Verdict::Done => {}
            Verdict::Wait(until) if work.waiting.len() < MOST_WAITING => {
                work.waiting.insert((until, position));
                work.is_changed = true;
            }
            Verdict::Wait(_) => self.miss(1, "too many asks wait for answers"),
            Verdict::Call(event) => {
                work.under_way.insert(position);
                work.is_changed = true;
                tracing::debug!(event = %event.id, %position, reason = event.reason.code(), "the user was offline");
                let (sink, offline) = (Arc::clone(&self.sink), Arc::clone(&self.offline));
                self.calls.spawn(call(sink, event, self.config, offline));
            }
        }
    }

    /// Reads the next records that may have to be decided; returns `false` if none is due.
    async fn read_page(&mut self) -> Result<bool> {
        let Some(work) = &mut self.work else { return Ok(false) };
        let (cursor, due) = (work.cursor, self.due);
        if cursor >= due {
            return Ok(false);
        }
        let next = self.offline.next(cursor, due);
        work.is_changed |= next.passed;
        let Some(position) = next.position else {
            work.cursor = due;
            return Ok(false);
        };
        let after = position.previous();
        let page = self.log.page(after, PAGE).await?;
        let first = match page.first() {
            Some(entry) => entry.position,
            None => self.log.state_in_time().await?.start.next(),
        };
        if page.is_empty() && first <= position {
            // Not there yet, whatever was applied.
            return Ok(false);
        }
        if first > position {
            let until = first.previous().min(due);
            // What a new epoch does not hold was not for this node to decide.
            if cursor > Position::START || self.life == 0 {
                self.miss(self.offline.undecided(after, until), GONE);
            }
        }
        let Some(work) = &mut self.work else { return Ok(false) };
        work.cursor = after.max(first.previous().min(due));
        work.page = page.into_iter().take_while(|entry| entry.position <= due).collect();
        Ok(true)
    }

    /// Counts records that are not decided.
    fn miss(&self, count: u64, reason: &str) {
        if count > 0 {
            self.offline.counters.add_unknown(count);
            tracing::warn!(count, reason, "could not determine whether the users of some records were offline");
        }
    }

    async fn judge(&mut self, entry: &Entry, turn: Turn) -> Result<Verdict> {
        let position = entry.position;
        let Ok(record) = entry.record.decode() else {
            self.offline.counters.add_unknown(1);
            return Ok(Verdict::Done);
        };
        let Some((target, event, timeout)) = question(&record) else { return Ok(Verdict::Done) };
        let Scope::User { name, tenant } = target.scope() else { return Ok(Verdict::Done) };
        if let Some(work) = &mut self.work {
            work.is_changed = true;
        }
        let flags = self.offline.flags(position);
        if flags.settled || target.excepts(tenant.as_deref(), name) {
            return Ok(Verdict::Done);
        }
        if let Some(timeout) = timeout {
            let waited = if turn == Turn::First { self.config.delay } else { Duration::ZERO };
            let due = (timeout + ANSWERS).saturating_sub(waited);
            if turn != Turn::Last && !due.is_zero() {
                return Ok(Verdict::Wait(Instant::now() + due));
            }
        }
        if !flags.matched && self.is_at_silent_node(target, name, tenant.as_deref()).await? {
            self.offline.counters.add_unknown(1);
            return Ok(Verdict::Done);
        }
        let reason = if flags.matched { OfflineReason::NotAnswered } else { OfflineReason::NoConnection };
        let mut missed = OfflineEvent::new(&**name, event, reason).at(position, record.id);
        missed.tenant = tenant.as_deref().map(str::to_owned);
        Ok(Verdict::Call(missed))
    }

    /// Returns whether a node that does not tell, because it has no sink, has a connection of the
    /// user: it may have got the event.
    async fn is_at_silent_node(&self, target: &Target, user: &str, tenant: Option<&str>) -> Result<bool> {
        let nodes = self.nodes.iter().flat_map(|(nodes, _)| nodes);
        let silent: Vec<_> = nodes.filter(|node| !node.offline_sink).map(|node| node.id).collect();
        if silent.is_empty() {
            return Ok(false);
        }
        let online = self.log.online_connections(user).await?;
        Ok(online.iter().any(|presence| {
            silent.contains(&presence.node)
                && (tenant.is_none() || presence.tenant.as_deref() == tenant)
                && !target.excludes(presence.connection)
        }))
    }
}

/// Returns what a record asks of its target, and for how long, if it does.
fn question(record: &Record) -> Option<(&Target, &Event, Option<Duration>)> {
    match &record.body {
        Body::Event { target, event, .. } => Some((target, event, None)),
        Body::Ask { target, event, timeout } => Some((target, event, Some(*timeout))),
        _ => None,
    }
}
