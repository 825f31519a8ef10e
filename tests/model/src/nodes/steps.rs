//! The steps of a schedule.

use std::time::Duration;

use realtime_core::CloseReason;
use tokio::time::Instant;

use crate::nodes::calls::{Attempt, Closing, FIRST_CODE, Message, Question};
use crate::nodes::link::CALM;
use crate::nodes::node::change_room;
use crate::nodes::schedule::{Step, To};
use crate::nodes::truth::Member;
use crate::nodes::world::World;

/// The time in which everything comes to rest once nothing fails any longer: a lease, an ask, and
/// the retries of a send.
const REST: Duration = Duration::from_secs(16);

impl World {
    /// Executes a step, and lets the nodes run for a moment.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Connect { .. } | Step::Enter { .. } | Step::Disconnect { .. } | Step::DisconnectUser { .. } => {
                self.step_of_client(step).await;
            }
            Step::Send { .. } | Step::Repeat { .. } | Step::Room { .. } | Step::Ask { .. } | Step::Close { .. } => {
                self.call(step).await;
            }
            Step::Lose { .. }
            | Step::RestartAll { .. }
            | Step::Start { .. }
            | Step::Stop { .. }
            | Step::Kill { .. } => {
                self.step_of_node(step).await?;
            }
            Step::Settle => self.settle().await?,
            Step::Wait(time) => self.pass(Duration::from_millis(time)).await?,
            _ => self.fault(step),
        }
        self.pass(Duration::from_millis(1)).await
    }

    async fn step_of_client(&mut self, step: &Step) {
        match *step {
            Step::Connect { client, node, present, late } => {
                if let Some(node) = self.running(node).await {
                    self.admit(client, node, present, late).await;
                }
            }
            Step::Enter { client } => self.enter(client),
            Step::Disconnect { client } => self.disconnect(client, CloseReason::CONNECTION_LOST),
            Step::DisconnectUser { user } => {
                for client in 0..self.clients.len() {
                    if self.clients[client].who.user == user {
                        self.disconnect(client, CloseReason::CONNECTION_LOST);
                        self.admitted.remove(&client);
                    }
                }
            }
            _ => {}
        }
    }

    async fn call(&mut self, step: &Step) {
        let (Step::Ask { node: place, .. }
        | Step::Close { node: place, .. }
        | Step::Repeat { node: place, .. }
        | Step::Room { node: place, .. }
        | Step::Send { node: place, .. }) = *step
        else {
            return;
        };
        let Some(node) = self.running(place).await else { return };
        let (number, begun) = (self.next, Instant::now());
        let dispatcher = self.nodes[node].dispatcher.unowned();
        match *step {
            Step::Send { to, key, retry, .. } => {
                self.next += 1;
                let attempts = vec![Attempt { node, begun, outcome: None }];
                let message = Message { to, key, retry, attempts };
                self.ended.send(&dispatcher, number, &message, Duration::ZERO);
                self.messages.insert(number, message);
            }
            Step::Repeat { back, .. } => {
                let known = self.messages.iter().rev().filter(|(_, message)| message.key).nth(back);
                if let Some(number) = known.map(|(number, _)| *number) {
                    self.send_again(number, place, Duration::ZERO);
                }
            }
            Step::Room { user, tenant, room, enter, .. } => {
                let member = Member { user, tenant };
                self.ended.room(async move { change_room(&dispatcher, member, room, enter).await });
            }
            Step::Ask { to, seconds, .. } => {
                self.next += 1;
                let timeout = Duration::from_secs(seconds);
                self.ended.ask(&dispatcher, number, to, timeout);
                self.questions.insert(number, Question { node, begun, timeout, received: Default::default() });
            }
            Step::Close { to, .. } => self.close(node, to),
            _ => {}
        }
    }

    fn close(&mut self, node: usize, to: To) {
        let code = FIRST_CODE + self.closings.len() as u16;
        self.closings.push(Closing { node, begun: Instant::now(), ended: None, reached: 0 });
        self.ended.close(&self.nodes[node].dispatcher, code, to);
    }

    async fn step_of_node(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Lose { records } => {
                self.broker.lose(records);
                self.coverage.add(if records.is_some() { "log rolled back" } else { "log wiped" });
            }
            Step::RestartAll { records } => {
                (0..self.places.len()).for_each(|place| self.kill(place));
                self.pass(Duration::from_millis(5)).await?;
                if records > 0 {
                    self.broker.lose(Some(records));
                    self.coverage.add("log rolled back, with all nodes");
                }
                (0..self.places.len()).for_each(|place| self.start(place));
            }
            Step::Start { node } if !self.nodes[self.places[node]].is_alive() => {
                self.start(node);
                self.coverage.add("node started while others run");
            }
            Step::Stop { node } => {
                if let Some(number) = self.running(node).await {
                    self.nodes[number].stop();
                    self.coverage.add("node stopped");
                }
            }
            Step::Kill { node } => {
                self.kill(node);
                self.coverage.add("node killed");
            }
            _ => {}
        }
        Ok(())
    }

    fn kill(&mut self, place: usize) {
        let number = self.places[place];
        if self.nodes[number].is_alive() {
            self.nodes[number].kill();
        }
        for client in 0..self.clients.len() {
            if self.clients[client].conn.as_ref().is_some_and(|conn| conn.node == number) {
                self.disconnect(client, CloseReason::CONNECTION_LOST);
            }
        }
    }

    fn fault(&mut self, step: &Step) {
        let place = |place: usize| &self.nodes[self.places[place]];
        match *step {
            Step::Delay { node, append, tail } => {
                place(node).link.with(|state| {
                    let before = state.append_delay.max(state.tail_delay);
                    state.append_delay = Duration::from_millis(append);
                    state.tail_delay = Duration::from_millis(tail);
                    if before.max(state.append_delay).max(state.tail_delay) > CALM {
                        state.fault_at = Instant::now();
                    }
                });
                if tail > 0 {
                    self.coverage.add("node slow to read");
                }
            }
            Step::Fail { node, fault, appends } => {
                place(node).link.with(|state| (state.fault, state.fault_at) = (Some((fault, appends)), Instant::now()));
            }
            Step::LoseMessages { node, messages } => place(node).link.with(|state| state.lose_messages = messages),
            Step::FailReads { node, reads } => {
                place(node).link.with(|state| (state.fail_reads, state.fault_at) = (reads, Instant::now()));
            }
            Step::Cut { node, up } if place(node).is_alive() => {
                place(node).link.set_up(up);
                self.coverage.add("broker cut off from one node");
            }
            Step::CutAll { up } => {
                let alive = self.nodes.iter().filter(|node| node.is_alive());
                alive.for_each(|node| node.link.set_up(up));
                self.coverage.add("broker cut off from all nodes");
            }
            Step::CutDirectory { node, up } if place(node).is_alive() => {
                place(node).directory.set_up(up);
                self.coverage.add("directory cut off from a node");
            }
            Step::LoseDirectory => {
                self.entries.lose();
                self.coverage.add("directory lost");
            }
            _ => {}
        }
    }

    /// Ends every fault, lets everything come to rest, and checks it.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        for node in self.nodes.iter().filter(|node| node.is_alive()) {
            node.link.heal();
            node.directory.set_up(true);
        }
        self.pass(REST).await?;
        self.check_rest().await
    }

    /// Checks what is only known at the end.
    pub(crate) fn finish(&mut self) {
        let (renewals, records) = self.broker.with(|inner| (inner.renewals, inner.truth.records.clone()));
        (0..renewals).for_each(|_| self.coverage.add("new life of the log, begun by a node"));
        let nodes: std::collections::BTreeSet<_> = records.iter().map(|record| record.link).collect();
        if nodes.len() > 1 {
            self.coverage.add("event of another node");
        }
    }
}
