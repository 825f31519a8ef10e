//! One run with several nodes: the broker, the directory, the processes and the clients.

use std::collections::BTreeMap;
use std::time::Duration;

use realtime_core::spi::{Admitted, Take};
use realtime_core::{CloseReason, ConnectionId, InboundPayload};
use tokio::time::{Instant, sleep};

use crate::nodes::broker::Broker;
use crate::nodes::calls::{Closing, Ended, FIRST_CODE, Message, Question};
use crate::nodes::client::{Client, Conn, Moment, Seen};
use crate::nodes::coverage::NodesCoverage;
use crate::nodes::directory::Entries;
use crate::nodes::node::{Given, Node};
use crate::nodes::schedule::{NodesSchedule, Present, Setup, Who};

/// The time between two reads of the clients.
const SLICE: Duration = Duration::from_millis(200);
/// The bytes of one read.
const BATCH: usize = 64 * 1024;

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) broker: Broker,
    pub(crate) entries: Entries,
    /// Every process, dead ones included.
    pub(crate) nodes: Vec<Node>,
    /// The process at each place of the schedule.
    pub(crate) places: Vec<usize>,
    pub(crate) clients: Vec<Client>,
    /// The clients that are admitted and not registered, with the process and what they present.
    pub(crate) admitted: BTreeMap<usize, (usize, Admitted, Option<Given>)>,
    /// Every connection there ever was.
    pub(crate) stays: Vec<Stay>,
    pub(crate) ended: Ended,
    pub(crate) messages: BTreeMap<u64, Message>,
    pub(crate) questions: BTreeMap<u64, Question>,
    pub(crate) closings: Vec<Closing>,
    /// The number of the next event or ask.
    pub(crate) next: u64,
    /// The number of records that were looked at.
    pub(crate) looked: usize,
    pub(crate) coverage: NodesCoverage,
    pub(crate) begun: Instant,
    pub(crate) trace: Option<Vec<String>>,
}

/// A connection, from its registration to its end.
pub(crate) struct Stay {
    pub(crate) who: Who,
    pub(crate) node: usize,
    pub(crate) id: ConnectionId,
    pub(crate) from: Instant,
    pub(crate) until: Option<Instant>,
    /// `true` if the server closed it.
    pub(crate) was_closed: bool,
}

impl World {
    pub(crate) async fn new(schedule: &NodesSchedule, traced: bool) -> Self {
        // So that there is a time long ago.
        tokio::time::advance(Duration::from_secs(1_000)).await;
        let setup = schedule.setup.clone();
        let client = |who: &Who| Client { who: *who, cursors: Vec::new(), conn: None };
        let mut world = Self {
            broker: Broker::new(),
            entries: Entries::default(),
            nodes: Vec::new(),
            places: Vec::new(),
            clients: setup.clients.iter().map(client).collect(),
            admitted: BTreeMap::new(),
            stays: Vec::new(),
            ended: Ended::default(),
            messages: BTreeMap::new(),
            questions: BTreeMap::new(),
            closings: Vec::new(),
            next: 1,
            looked: 0,
            coverage: NodesCoverage::default(),
            begun: Instant::now(),
            trace: traced.then(Vec::new),
            setup,
        };
        for place in 0..world.setup.nodes {
            world.start(place);
        }
        for node in &mut world.nodes {
            node.attached().await;
        }
        world.coverage.add(["one node", "two nodes", "three nodes"][world.setup.nodes - 1]);
        world
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:8.3} {}", self.begun.elapsed().as_secs_f64(), text()));
        }
    }

    /// Starts a process at a place.
    pub(crate) fn start(&mut self, place: usize) {
        let number = self.nodes.len();
        self.nodes.push(Node::start(number, &self.setup, &self.broker, &self.entries));
        if place < self.places.len() {
            self.places[place] = number
        } else {
            self.places.push(number)
        }
        self.note(|| format!("  process {number} begins"));
    }

    /// Returns the process at a place, if it runs.
    pub(crate) async fn running(&mut self, place: usize) -> Option<usize> {
        let number = self.places[place];
        self.nodes[number].is_running().await.then_some(number)
    }

    /// Lets time pass, in which the clients read.
    pub(crate) async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        loop {
            self.read_all()?;
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(SLICE)).await;
        }
    }

    /// Lets every client read what there is.
    pub(crate) fn read_all(&mut self) -> Result<(), String> {
        (0..self.clients.len()).try_for_each(|client| self.read(client))
    }

    fn read(&mut self, number: usize) -> Result<(), String> {
        let mut frames = Vec::new();
        loop {
            let Some(conn) = &self.clients[number].conn else { return Ok(()) };
            let node = &self.nodes[conn.node];
            if node.killed {
                return Ok(());
            }
            let moment = Moment {
                applied: node.dispatcher.hub().applied().get(),
                last: node.link.with(|state| state.last),
                window_records: self.setup.window_records as u64,
                age: Duration::from_secs(self.setup.age),
                is_calm: node.is_calm_since(Instant::now() - Duration::from_secs(5)),
            };
            let take = conn.registration.try_take(BATCH, &mut frames);
            for frame in frames.drain(..) {
                let seen = self.broker.with(|inner| self.clients[number].see(&frame.0, &inner.truth, &moment));
                let seen = seen.map_err(|error| format!("client {number}: {error}"))?;
                let given = frame.0.cursor.as_ref().map(|cursor| cursor.position);
                self.note(|| format!("  client {number} receives {} {given:?}", frame.0.name));
                self.on_seen(number, seen);
            }
            match take {
                Take::Closed(reason) => return self.on_closed(number, &reason),
                Take::Empty => break,
                _ => {}
            }
        }
        self.answer(number);
        Ok(())
    }

    fn on_seen(&mut self, number: usize, seen: Seen) {
        let Some(conn) = &mut self.clients[number].conn else { return };
        match seen {
            Seen::Ask { number: ask, ack } => {
                if let Some(question) = self.questions.get_mut(&ask) {
                    question.received.insert(conn.number, None);
                }
                if let Some(delay) = self.setup.answers[number] {
                    conn.answers.push((Instant::now() + Duration::from_millis(delay), ack, ask));
                }
            }
            Seen::Event => self.coverage.add("event"),
            Seen::Welcome(reason) => {
                let node = conn.node;
                let what = match reason.as_str() {
                    "connected: resumed" => "connected: resumed",
                    "connected: expired" => "connected: expired",
                    "connected: epoch" => "connected: epoch",
                    "connected: epoch, for its record is gone" => "connected: epoch, for its record is gone",
                    _ => "new",
                };
                self.coverage.add(what);
                self.note(|| format!("  client {number} at process {node}: {reason}"));
                if what == "connected: resumed" {
                    self.cover_move(number, node);
                }
            }
            Seen::Cursor | Seen::Other => {}
        }
    }

    /// Counts a resume at another node than the client's previous connection.
    fn cover_move(&mut self, client: usize, node: usize) {
        let who = self.clients[client].who;
        let mut earlier = self.stays.iter().rev().filter(|stay| stay.who == who && stay.until.is_some());
        if earlier.next().is_some_and(|stay| stay.node != node) {
            self.coverage.add("connected: resumed at another node");
        }
        if self.nodes[node].begun > self.begun + SLICE {
            self.coverage.add("connected: resumed at another process");
        }
    }

    /// Gives the answers that are due.
    fn answer(&mut self, number: usize) {
        let Some(conn) = &mut self.clients[number].conn else { return };
        let due: Vec<_> = conn.answers.extract_if(.., |(at, ..)| *at <= Instant::now()).collect();
        for (_, ack, ask) in due {
            let answered = conn.registration.answer(ack, InboundPayload::json_text(conn.number.to_string()));
            if let Some(question) = self.questions.get_mut(&ask).filter(|_| answered) {
                question.received.insert(conn.number, Some(Instant::now()));
            }
        }
    }

    /// The server has closed a connection.
    fn on_closed(&mut self, client: usize, reason: &CloseReason) -> Result<(), String> {
        self.note(|| format!("  client {client} is closed: {reason}"));
        let Some(conn) = &self.clients[client].conn else { return Ok(()) };
        let (number, node) = (conn.number, conn.node);
        self.stays[number].was_closed = true;
        let closed = match reason.code().checked_sub(FIRST_CODE) {
            Some(close) => self.check_closed(number, node, close),
            None if *reason == CloseReason::RESTART => {
                if self.nodes[node].is_alive() {
                    self.coverage.add("client closed for a new epoch");
                }
                Ok(())
            }
            None => Err(format!("client {client} was closed: {reason}")),
        };
        self.disconnect(client, reason.clone());
        closed
    }

    /// Checks that a connection was closed by a close that is meant for it.
    fn check_closed(&mut self, number: usize, node: usize, close: u16) -> Result<(), String> {
        let code = FIRST_CODE + close;
        let closing = self.closings.get_mut(usize::from(close)).ok_or("an unknown close")?;
        closing.reached += 1;
        if closing.node != node {
            self.coverage.add("client closed by another node");
        }
        let stay = &self.stays[number];
        let delivered = self.broker.with(|inner| {
            let is_it = |record: &usize| crate::nodes::calls::is_close(&inner.truth.records[*record].content, code);
            self.nodes[node]
                .link
                .with(|state| state.delivered.iter().find(|(record, _)| is_it(record)).map(|(_, at)| *at))
        });
        if delivered.is_some_and(|at| at < stay.from) {
            return Err(format!(
                "a close at {delivered:?} has closed connection {number}, which came at {:?}",
                stay.from
            ));
        }
        Ok(())
    }

    /// Ends a client's connection, however it ends.
    pub(crate) fn disconnect(&mut self, client: usize, reason: CloseReason) {
        let Some(conn) = self.clients[client].conn.take() else { return };
        self.stays[conn.number].until.get_or_insert(Instant::now());
        conn.registration.leave(reason);
    }

    /// Admits a client to a process; registers it, or leaves that to a later step.
    pub(crate) async fn admit(&mut self, client: usize, node: usize, present: Present, late: bool) {
        self.disconnect(client, CloseReason::CONNECTION_LOST);
        self.admitted.remove(&client);
        let cursors = &self.clients[client].cursors;
        let given = match present {
            Present::None => None,
            Present::Old(back) => cursors.get(cursors.len().saturating_sub(back + 1)).cloned(),
            Present::Own => cursors.last().cloned(),
        };
        let text = given.as_ref().map(|given| given.text.clone());
        match self.nodes[node].admit(self.clients[client].who, text).await {
            Ok(admitted) => {
                self.admitted.insert(client, (node, admitted, given));
                if !late {
                    self.enter(client);
                }
            }
            Err(refusal) => {
                self.coverage.add("client refused");
                self.note(|| format!("  client {client} is refused: {refusal}"));
            }
        }
    }

    /// Registers an admitted client.
    pub(crate) fn enter(&mut self, client: usize) {
        let Some((node, admitted, given)) = self.admitted.remove(&client) else { return };
        if !self.nodes[node].is_alive() {
            return;
        }
        let (registration, id) = self.nodes[node].register(admitted);
        let (number, who) = (self.stays.len(), self.clients[client].who);
        self.stays.push(Stay { who, node, id, from: Instant::now(), until: None, was_closed: false });
        self.clients[client].conn = Some(Conn::new(node, registration, number, given));
        self.cover_late(node);
    }

    /// Counts a registration at a node that reads a close again in another life of the log.
    fn cover_late(&mut self, node: usize) {
        let applied = self.nodes[node].dispatcher.hub().applied().get();
        let again = self.broker.with(|inner| {
            let tip = inner.tip();
            let rest = (applied + 1..=inner.truth.position(tip)).filter_map(|position| inner.at(position));
            let is_close = |record: &usize| {
                matches!(inner.truth.records[*record].content, crate::nodes::truth::Content::Close { .. })
            };
            rest.filter(is_close).collect::<Vec<_>>()
        });
        if self.nodes[node].link.with(|state| again.iter().any(|record| state.delivered.contains_key(record))) {
            self.coverage.add("client registered after a close and another life");
        }
    }

    /// Returns whether nothing has failed for a process and for the log since this time.
    pub(crate) fn is_calm(&self, node: usize, since: Instant) -> bool {
        let disturbed_at = self.broker.with(|inner| inner.disturbed_at);
        disturbed_at < since - Duration::from_secs(4) && self.nodes[node].is_calm_since(since - Duration::from_secs(5))
    }
}
