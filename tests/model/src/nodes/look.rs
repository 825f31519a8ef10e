//! The checks while a run goes on: outcomes of calls, ends of rooms, and that nothing is missing
//! when everything is at rest.

use std::time::Duration;

use tokio::time::Instant;

use crate::nodes::calls::{ATTEMPTS, Asked, Attempt, Closing, Done, Outcome, Sent};
use crate::nodes::schedule::To;
use crate::nodes::truth::{Content, Member};
use crate::nodes::world::World;

impl World {
    /// Checks what has happened since the last look.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        if let Some(failed) = self.broker.with(|inner| inner.failed.take()) {
            return Err(failed);
        }
        for node in &self.nodes {
            let happened = node.link.with(|state| std::mem::take(&mut state.happened));
            happened.into_iter().for_each(|what| self.coverage.add(what));
        }
        self.look_at_records()?;
        for done in self.ended.take() {
            match done {
                Done::Ask { number, outcome } => {
                    self.note(|| format!("  ask {number}: {outcome:?}"));
                    self.check_ask(number, &outcome)?;
                }
                Done::Close { code, outcome } => self.on_close_ended(code, outcome)?,
                Done::Room => {}
                Done::Send { number, attempt, outcome } => self.on_sent(number, attempt, outcome)?,
            }
        }
        Ok(())
    }

    fn on_sent(&mut self, number: u64, attempt: usize, outcome: Outcome<Sent>) -> Result<(), String> {
        self.note(|| format!("  event {number}, attempt {attempt}: {outcome:?}"));
        let Some(message) = self.messages.get(&number) else { return Ok(()) };
        let Attempt { node, begun, .. } = message.attempts[attempt];
        if !matches!(outcome, Outcome::Ok(_)) && self.is_calm(node, begun) {
            return Err(format!("event {number} was not sent, though nothing has failed: {outcome:?}"));
        }
        self.coverage.add(match outcome {
            Outcome::Ok(Sent { repeated: true, .. }) => "repeat of a key",
            Outcome::Ok(_) => "event of a sender with a receipt",
            Outcome::Refused(_) => "event certainly refused",
            Outcome::Unknown => "event with an unknown outcome",
        });
        let is_ok = matches!(outcome, Outcome::Ok(_));
        let Some(message) = self.messages.get_mut(&number) else { return Ok(()) };
        message.attempts[attempt].outcome = Some(outcome);
        let (key, retry, attempts) = (message.key, message.retry, message.attempts.len());
        if !is_ok && key && attempts < ATTEMPTS {
            self.send_again(number, retry, Duration::from_millis(700));
        }
        Ok(())
    }

    /// Sends an event with its key once more, at the process of this place.
    pub(crate) fn send_again(&mut self, number: u64, place: usize, delay: Duration) {
        let node = self.places[place % self.places.len()];
        let Some(message) = self.messages.get_mut(&number) else { return };
        if message.attempts.last().is_some_and(|last| last.node != node) {
            self.coverage.add("event sent again, with a key, at another node");
        }
        message.attempts.push(Attempt { node, begun: Instant::now() + delay, outcome: None });
        self.ended.send(&self.nodes[node].dispatcher, number, message, delay);
    }

    fn check_ask(&mut self, number: u64, outcome: &Outcome<Vec<realtime_core::AckReply>>) -> Result<(), String> {
        let Some(question) = self.questions.get(&number) else { return Ok(()) };
        let (begun, asker) = (question.begun, question.node);
        let record = self.broker.with(|inner| inner.truth.by_number.get(&number).and_then(|all| all.first().copied()));
        let soon = begun + Duration::from_secs(2);
        let conns: Vec<_> = (0..self.stays.len())
            .map(|number| {
                let stay = &self.stays[number];
                let is_open = stay.from + Duration::from_secs(1) < begun && stay.until.is_none_or(|until| until > soon);
                let is_for =
                    record.is_some_and(|record| self.broker.with(|inner| inner.truth.is_for(stay.who, record)));
                let is_calm = self.is_calm(stay.node, begun);
                Asked { id: stay.id, number, until: stay.until, is_calm, must_receive: is_open && is_for }
            })
            .collect();
        let reached = question.check(number, outcome, self.is_calm(asker, begun), &conns)?;
        reached.into_iter().for_each(|what| self.coverage.add(what));
        Ok(())
    }

    fn on_close_ended(&mut self, code: u16, outcome: Outcome<usize>) -> Result<(), String> {
        self.note(|| format!("  close {code}: {outcome:?}"));
        let index = usize::from(code - crate::nodes::calls::FIRST_CODE);
        let Closing { node, begun, .. } = self.closings[index];
        let is_calm = (0..self.nodes.len()).all(|node| !self.nodes[node].is_alive() || self.is_calm(node, begun));
        let has_lost = self.nodes.iter().any(|node| node.link.with(|state| state.lost_at >= begun));
        let is_calm = is_calm && self.is_calm(node, begun) && !has_lost;
        match &outcome {
            Outcome::Ok(_) if is_calm => self.coverage.add("close of which the count was checked"),
            // Not to be compared.
            Outcome::Ok(_) => return Ok(()),
            _ if is_calm => return Err(format!("close {code} failed: {outcome:?}")),
            _ => return Ok(()),
        }
        self.closings[index].ended = Some((Instant::now(), outcome));
        Ok(())
    }

    /// Looks at the records that were appended since the last look.
    fn look_at_records(&mut self) -> Result<(), String> {
        let new = self.broker.with(|inner| inner.truth.records[self.looked..].to_vec());
        for record in new {
            let number = self.looked;
            self.looked += 1;
            self.note(|| format!("  record {number} at {}: {:?}", record.position, record.content));
            let what = match &record.content {
                Content::Absent { member, seen } if record.ends_rooms => {
                    self.check_absence(*member, *seen, record.link, record.at)?;
                    "absence: the end of rooms"
                }
                Content::Absent { .. } => "absence: without an effect",
                Content::Ask { .. } => "ask",
                Content::Check => "absence: a question to the other nodes",
                Content::Close { .. } => "close",
                Content::Event { to: To::Room(_), .. } => "event to a room",
                Content::Event { to: To::RoomIn(..), .. } => "event to a room of a tenant",
                Content::Event { to: To::User(_) | To::UserIn(..), .. } => "event to a user",
                Content::Event { .. } => "event to others",
                Content::Join { .. } => "room joined",
                Content::Leave { .. } => "room left",
                Content::Present { .. } => "absence: a confirmation by another node",
            };
            self.coverage.add(what);
        }
        Ok(())
    }

    /// Checks that rooms were ended only for a user who was connected to no node for the time, as
    /// far as nodes could tell, and not through an outage.
    fn check_absence(&mut self, member: Member, seen: u64, writer: usize, at: Instant) -> Result<(), String> {
        let age = Duration::from_secs(self.setup.age);
        let cut_at = self.nodes[writer].link.cut_at();
        if cut_at + age > at {
            return Err(format!(
                "the rooms of {member:?} ended {:?} after an outage",
                at.saturating_duration_since(cut_at)
            ));
        }
        if cut_at > self.begun {
            self.coverage.add("absence: the end of rooms, after a cut");
        }
        let disturbed_at = self.broker.with(|inner| inner.disturbed_at);
        if disturbed_at + Duration::from_secs(4) > at {
            return Ok(());
        }
        for (number, stay) in self.stays.iter().enumerate().filter(|(_, stay)| member.is(stay.who)) {
            let until = stay.until.unwrap_or(at);
            let is_recent = until + age > at;
            // The node may have had no time to object.
            let is_new = stay.from + Duration::from_secs(4) > at;
            let node = &self.nodes[stay.node];
            let could_tell = !node.killed
                && node.link.is_calm_since(until.min(at - age) - Duration::from_secs(3))
                && node.directory.is_calm_since(until.min(at - age) - Duration::from_secs(3));
            if is_recent && !is_new && could_tell {
                let ago = at.saturating_duration_since(until);
                return Err(format!(
                    "the rooms of {member:?}, joined up to {seen}, ended {ago:?} after connection {number} at process {}",
                    stay.node
                ));
            }
        }
        Ok(())
    }

    /// Checks everything, with all at rest.
    pub(crate) async fn check_rest(&mut self) -> Result<(), String> {
        let (tip, epoch) = self.broker.with(|inner| (inner.tip(), inner.epoch()));
        let last = self.broker.with(|inner| inner.truth.position(tip));
        for place in 0..self.places.len() {
            let Some(node) = self.running(place).await else { continue };
            let dispatcher = &self.nodes[node].dispatcher;
            if !dispatcher.is_ready() || dispatcher.hub().applied().get() != last {
                return Err(format!("process {node} has applied {:?} of {last}", dispatcher.hub().applied()));
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            let Some(conn) = &client.conn else { continue };
            if conn.epoch != Some(epoch) {
                return Err(format!("client {number} is still in another epoch"));
            }
            let complete = self.broker.with(|inner| conn.check_complete(tip, &inner.truth, client.who));
            complete.map_err(|error| format!("client {number}, at rest: {error}"))?;
        }
        self.check_messages()?;
        self.check_counts()?;
        self.coverage.add("settled");
        Ok(())
    }

    fn check_messages(&mut self) -> Result<(), String> {
        let age = Duration::from_secs(self.setup.age);
        let is_over = |attempt: &Attempt| attempt.outcome.is_some();
        for (number, message) in &self.messages {
            if !message.attempts.iter().all(is_over) {
                // Its process has ended, and the attempt with it.
                continue;
            }
            self.broker.with(|inner| message.check(*number, &inner.truth, age))?;
            let [Attempt { outcome: Some(Outcome::Unknown), .. }] = &message.attempts[..] else { continue };
            let is_there = self.broker.with(|inner| inner.truth.by_number.contains_key(number));
            self.coverage.add(if is_there {
                "event with an unknown outcome, in the log"
            } else {
                "event with an unknown outcome, not in the log"
            });
        }
        Ok(())
    }

    /// Checks the counts of closes for which nothing failed.
    fn check_counts(&mut self) -> Result<(), String> {
        for (number, closing) in self.closings.iter_mut().enumerate() {
            let Some((ended, Outcome::Ok(count))) = closing.ended.take() else { continue };
            // A client that left by itself meanwhile was perhaps closed too.
            let left = self.stays.iter().filter(|stay| {
                !stay.was_closed && stay.until.is_some_and(|until| until >= closing.begun && until <= ended)
            });
            if left.count() == 0 && count != closing.reached {
                return Err(format!("close {number} has reached {}, and counted {count}", closing.reached));
            }
            if count > 1 {
                self.coverage.add("close that reached connections of several nodes");
            }
        }
        Ok(())
    }
}
