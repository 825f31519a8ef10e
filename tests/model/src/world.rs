//! One run: the server, the clients, their connections, and the reference that observes them.

use std::time::Duration;

use realtime_core::Drain;
use realtime_wire::{ClientMessage, ServerMessage, Transport};
use tokio::time::{Instant, sleep};

use crate::asks::{self, Asks};
use crate::calls::Sending;
use crate::conn::Moment;
use crate::log::LATE;
use crate::log_spy::{LogEvent, LogSpy};
use crate::pipe::ClientEnd;
use crate::player::{LateAnswer, Player};
use crate::reference::Reference;
use crate::reference::observe::Reaction;
use crate::schedule::{Answer, By, Call, Providers, Schedule, Setup};
use crate::server::{HELLO, Server};
use crate::steps::Digest;

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) server: Server,
    pub(crate) reference: Reference,
    pub(crate) players: Vec<Player>,
    /// Connections without a reader, of which the server does not know that the client is gone.
    pub(crate) unread: Vec<ClientEnd>,
    pub(crate) asks: Asks,
    /// The way each ask is to be answered, by its number.
    pub(crate) answers: Vec<(u64, u16)>,
    pub(crate) digest: Digest,
    /// The trace, if one is wanted.
    pub(crate) trace: Option<Vec<String>>,
    /// The time at which the server stops to follow its log, once it is shutting down.
    pub(crate) serves_until: Option<Instant>,
    pub(crate) begun: Instant,
}

/// The time between two reads of the clients.
const SLICE: Duration = Duration::from_millis(350);
/// The number of rounds of the server's tasks without a byte after which nothing more is expected
/// at this moment.
const QUIET: usize = 12;
/// The number of rounds after which something is taken to be endless.
const ENDLESS: usize = 50_000;

impl World {
    pub(crate) async fn new(schedule: &Schedule, traced: bool) -> Result<Self, String> {
        let setup = schedule.setup.clone();
        let begun = Instant::now();
        let server = Server::start(&setup, LogSpy::new(setup.window_keys, setup.at_once), begun)
            .await
            .map_err(|error| error.to_string())?;
        let epoch = server.spy.epoch().ok_or("the log was not asked for its epoch")?;
        Ok(Self {
            reference: Reference::new(setup.clone(), epoch),
            players: setup.identities.iter().map(|_| Player::new(setup.transport)).collect(),
            server,
            unread: Vec::new(),
            asks: Asks::default(),
            answers: Vec::new(),
            digest: Digest::default(),
            trace: traced.then(Vec::new),
            serves_until: None,
            begun,
            setup,
        })
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:8.3} {}", self.begun.elapsed().as_secs_f64(), text()));
        }
    }

    /// Passes the calls of hooks to the reference.
    pub(crate) fn observe_hooks(&mut self) -> Result<(), String> {
        self.observe_log()?;
        for call in self.server.hook_calls() {
            let moment = self.moment_of_conn(call.serial);
            let what = if call.connected.is_some() { "connected" } else { "disconnected" };
            self.note(|| format!("  hook: #{} {what}", call.serial));
            self.reference.observe_hook(&call, moment)?;
        }
        let now = Instant::now();
        let now = self.serves_until.map_or(now, |until| until.min(now));
        let lost_since = self.reference.lost_since();
        if lost_since.is_some_and(|since| now.saturating_duration_since(since) > LATE) {
            return Err("the process continues with a log that has lost records".to_owned());
        }
        // A record about absent users that it writes into a lost log is never read.
        let age = self.reference.age();
        self.reference.log().users.check_absent(age, lost_since.map_or(now, |since| since.min(now)))?;
        self.asks.check(&mut self.reference)
    }

    /// Passes what the process has done with its log on its own account to the reference.
    pub(crate) fn observe_log(&mut self) -> Result<(), String> {
        for event in self.server.spy.take_events() {
            self.note(|| format!("  the log: {event:?}"));
            match event {
                LogEvent::NewLife { epoch, from, at } => self.reference.begin_life(epoch, from, at)?,
                LogEvent::Absence(absence) => self.reference.end_absent(&absence)?,
                LogEvent::UnappliedAbsence(absence) => self.reference.written(&absence)?,
            }
        }
        Ok(())
    }

    /// Returns the current state of the process, with the window of the provider that serves this
    /// transport.
    pub(crate) fn moment(&self, transport: Transport) -> Moment {
        self.reference.moment(transport, &self.server.stats_of(transport), self.server.spy.applied())
    }

    /// Returns the same for the transport of the connection with this serial number.
    fn moment_of_conn(&self, serial: usize) -> Moment {
        let conn = self.reference.conns.get(serial);
        self.moment(conn.map_or(self.setup.transport, |conn| conn.viewer.transport))
    }

    /// Lets one client read and answer; returns whether any byte moved.
    pub(crate) fn read_client(&mut self, client: usize, budget: usize) -> Result<bool, String> {
        let Some(link) = &mut self.players[client].link else { return Ok(false) };
        let serial = link.serial;
        let (mut messages, mut moved) = (Vec::new(), false);
        if budget > 0 && !link.is_broken() {
            (messages, moved) = link.read(budget).map_err(|error| format!("c{client}#{serial} reads {error}"))?;
        }
        for message in &messages {
            if self.observe(client, serial, message)? {
                self.end(client, "was closed", true)?;
                return Ok(true);
            }
        }
        moved |= self.answer_late(client);
        let Some(link) = &self.players[client].link else { return Ok(moved) };
        if link.is_closed() && (budget > 0 || link.is_broken()) {
            self.end(client, "is closed", false)?;
            return Ok(true);
        }
        Ok(moved)
    }

    /// Passes one message to the reference; returns whether it closes the connection.
    fn observe(&mut self, client: usize, serial: usize, message: &ServerMessage) -> Result<bool, String> {
        let now = self.moment_of_conn(serial);
        self.digest.add(self.begun.elapsed(), client, message);
        self.note(|| format!("  c{client}#{serial} receives {}", brief(message)));
        let observed = self.reference.observe(serial, message, now);
        let (reaction, cursor) =
            observed.map_err(|what| format!("c{client}#{serial} receives {}: {what}", brief(message)))?;
        let player = &mut self.players[client];
        if let Some(cursor) = cursor {
            player.past.extend(player.cursor.replace(cursor));
        }
        match reaction {
            Reaction::Ask { ack, number } => self.answer(client, ack, number),
            Reaction::Connected => {
                player.rooms.extend(&self.reference.conns[serial].named);
                if self.setup.mixed && self.reference.conns[serial].viewer.transport.is_bidirectional() {
                    player.link.iter_mut().for_each(|link| link.send(&ClientMessage::Event { name: HELLO }));
                }
            }
            Reaction::End => return Ok(true),
            Reaction::Entered(room) => drop(player.rooms.insert(room)),
            Reaction::Exited(room) => drop(player.rooms.remove(&room)),
            Reaction::Nothing => {}
        }
        Ok(false)
    }

    fn answer(&mut self, client: usize, ack: u64, number: u64) {
        let answers = self.answers.iter().find(|(asked, _)| *asked == number).map_or(0, |(_, answers)| *answers);
        match asks::manner(answers, client) {
            Answer::Late => {
                let at = Instant::now() + Duration::from_secs(5);
                self.players[client].late.push(LateAnswer { at, ack, number });
            }
            Answer::Never => {}
            Answer::Now => self.answer_now(client, ack, number),
        }
    }

    fn answer_now(&mut self, client: usize, ack: u64, number: u64) {
        let Some(link) = &mut self.players[client].link else { return };
        link.send(&ClientMessage::Answer { ack, json: asks::answer(link.serial, number) });
        link.answering.push(number);
        if let Some(asked) = self.reference.conns[link.serial].asks.get_mut(&number) {
            asked.answered = Some(Instant::now());
        }
    }

    /// Sends the answers that are due; returns whether there were any.
    fn answer_late(&mut self, client: usize) -> bool {
        let now = Instant::now();
        let late = &mut self.players[client].late;
        let due: Vec<LateAnswer> = late.extract_if(.., |late| late.at <= now).collect();
        due.iter().for_each(|late| self.answer_now(client, late.ack, late.number));
        !due.is_empty()
    }

    /// Ends a client's connection.
    fn end(&mut self, client: usize, how: &str, by_server: bool) -> Result<(), String> {
        let Some(link) = self.players[client].link.take() else { return Ok(()) };
        self.note(|| format!("  c{client}#{} {how}", link.serial));
        self.players[client].late.clear();
        let amid = link.connection.is_incomplete();
        let conn = &mut self.reference.conns[link.serial];
        conn.abandoned = true;
        let refused = by_server && !conn.connected;
        let (may_end, outdated) = (conn.may_end(), conn.outdated && conn.connected);
        if !may_end && !refused {
            return Err(format!("c{client}#{}: the server ended the connection without a cause", link.serial));
        }
        self.reference.cover_if(outdated, "closed for a new epoch");
        let broken = if amid { "disconnected within a message" } else { "disconnected between messages" };
        self.reference.cover_if(link.is_broken(), broken);
        Ok(())
    }

    /// Lets the clients that read do so until no more bytes come at this moment; time stands still.
    pub(crate) async fn flow(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..ENDLESS {
            if quiet == QUIET {
                return Ok(());
            }
            quiet += 1;
            self.observe_hooks()?;
            for client in 0..self.players.len() {
                if self.players[client].budget() == usize::MAX && self.read_client(client, usize::MAX)? {
                    quiet = 0;
                }
            }
            tokio::task::yield_now().await;
        }
        Err("it never settles".to_owned())
    }

    /// Lets every client that reads do so once, slow ones too.
    pub(crate) fn look(&mut self) -> Result<bool, String> {
        self.observe_hooks()?;
        let mut moved = false;
        for client in 0..self.players.len() {
            moved |= self.read_client(client, self.players[client].budget())?;
        }
        Ok(moved)
    }

    /// Lets time pass.
    pub(crate) async fn wait(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            sleep(SLICE.min(until - Instant::now())).await;
            self.look()?;
            self.flow().await?;
        }
        Ok(())
    }

    /// Lets everything that is under way come to rest; then every client that reads must have
    /// received what is for it.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        let links = self.players.iter().filter_map(|player| player.link.as_ref());
        if let Some(admitted) = links.filter_map(|link| self.reference.conns[link.serial].admitted).max() {
            self.wait(admitted.saturating_duration_since(Instant::now())).await?;
        }
        let mut quiet = 0;
        for round in 0.. {
            self.flow().await?;
            sleep(Duration::from_millis(1)).await;
            quiet = if self.look()? { 0 } else { quiet + 1 };
            if quiet == 3 {
                break;
            }
            if round == ENDLESS {
                return Err("it never settles".to_owned());
            }
        }
        self.observe_log()?;
        self.check_windows()?;
        let now = Instant::now();
        for (client, player) in self.players.iter_mut().enumerate() {
            let reads = player.budget() > 0;
            let Some(link) = player.link.as_mut().filter(|_| reads) else { continue };
            let serial = link.serial;
            if !self.reference.conns[serial].connected {
                return Err(format!("c{client}#{serial} was never answered"));
            }
            self.reference.check_settled(serial).map_err(|what| format!("c{client}#{serial}: {what}"))?;
            if link.has_sent_all() {
                for number in link.answering.drain(..) {
                    if let Some(asked) = self.reference.conns[serial].asks.get_mut(&number) {
                        asked.arrived = Some(now);
                    }
                }
                if self.reference.conns[serial].request.is_some() {
                    return Err(format!("c{client}#{serial} got no reply"));
                }
            }
        }
        Ok(())
    }

    /// Checks each provider's window; only when nothing is under way.
    pub(crate) fn check_windows(&mut self) -> Result<(), String> {
        self.server.stats().iter().try_for_each(|stats| self.reference.check_window(stats))
    }

    /// Returns a call of the application, to be polled with the others of its step; `None` when it
    /// is impossible.
    pub(crate) fn call(&mut self, call: Call) -> Option<crate::calls::Pending> {
        match call {
            Call::Ask { scope, seconds, answers } => {
                let asks = self.server.first().socket_io()?;
                let providers = self.providers_of(By::Provider);
                let audience = self.reference.audience(scope, None, providers);
                let number = self.reference.ask(audience);
                let timeout = Duration::from_secs(seconds);
                self.answers.push((number, answers));
                self.asks.begin(&self.reference, number, timeout);
                Some(crate::calls::ask(asks, scope, number, timeout))
            }
            Call::Room { member, room, enter } => {
                let rooms = self.server.first().rooms().filter(|_| enter || self.reference.may_leave(member, room))?;
                if enter {
                    self.reference.join(member, room);
                } else {
                    self.reference.leave(member, room);
                }
                Some(crate::calls::room(rooms, member, room, enter))
            }
            Call::Send { scope, except, kind, pad, by } => {
                let link = |client: usize| self.players[client].link.as_ref();
                let serial = if let By::Handler(client) = by { link(client).map(|link| link.serial) } else { None };
                let sender = self.server.sender(by, serial)?;
                let audience = self.reference.audience(scope, except, self.providers_of(by));
                let predicted = self.reference.send(Sending { scope, audience, kind, pad, by });
                Some(crate::calls::send(sender, predicted))
            }
        }
    }

    /// Returns the providers that an event goes over.
    fn providers_of(&self, by: By) -> Providers {
        match by {
            // With one provider the target of a record makes no difference.
            By::Provider if self.setup.mixed => Providers::of(&[self.setup.transport]),
            By::All | By::Handler(_) | By::Provider => Providers::ALL,
            By::Named(providers) => providers,
        }
    }

    /// Breaks the connections of all clients.
    pub(crate) fn disconnect_all(&mut self) {
        for player in &mut self.players {
            player.late.clear();
            if let Some(link) = player.link.take() {
                let conn = &mut self.reference.conns[link.serial];
                conn.abandoned = true;
                conn.undisturbed = false;
            }
        }
        self.unread.clear();
    }

    /// Shuts the process down; its hooks run.
    pub(crate) async fn stop(&mut self) -> Result<(), String> {
        self.disconnect_all();
        self.serves_until.get_or_insert(Instant::now());
        self.server.shutdown(Drain::now()).await;
        sleep(Duration::from_millis(1)).await;
        self.observe_hooks()?;
        for (transport, stats) in self.server.stats() {
            let coverage = &mut self.reference.coverage;
            coverage.add(transport, "overflow", stats.overflows);
            coverage.add(transport, "volatile event dropped", stats.dropped);
            coverage.add(transport, "connection closed for its stall", stats.stalled);
            if stats.panics > 0 || stats.skipped_records > 0 {
                return Err(format!("panics or skipped records: {stats:?}"));
            }
        }
        Ok(())
    }
}

/// Shows a message without its padding.
fn brief(message: &ServerMessage) -> String {
    match message {
        ServerMessage::Event { name, data, cursor, ack } => {
            let position = cursor.as_ref().and_then(|cursor| cursor.parse::<realtime_core::spi::Cursor>().ok());
            let position = position.map(|cursor| format!(" at {}", cursor.position())).unwrap_or_default();
            let ack = ack.map(|ack| format!(" to be answered as {ack}")).unwrap_or_default();
            let data = data.get("n").map_or_else(|| data.to_string(), |number| format!("n={number}"));
            format!("{name} {data}{position}{ack}")
        }
        ServerMessage::Cursor(cursor) => {
            let position = cursor.parse::<realtime_core::spi::Cursor>().map(|cursor| cursor.position());
            format!("a bare position: {position:?}")
        }
        other => format!("{other:?}"),
    }
}
