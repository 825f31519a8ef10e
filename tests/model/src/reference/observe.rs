//! The check of what a client receives: every message is compared with the reference.

use realtime_core::spi::Cursor;
use realtime_wire::{ServerMessage, Transport};
use serde_json::Value;

use crate::conn::{Asked, Conn, Moment};
use crate::frame_probe::LARGE;
use crate::generate::CLOSED_ROOM;
use crate::log::{Position, Record, RecordKind};
use crate::reference::lives::Life;
use crate::reference::{Given, Reference, Sent};
use crate::rooms::Visibility;
use crate::schedule::{By, Id, Scope};

/// The reaction of a client to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The client answers an ask with this number.
    Ask { ack: u64, number: u64 },
    /// The client is connected, and in the rooms that it named.
    Connected,
    /// The client ends the connection, which the server has closed.
    End,
    /// The client is in this room, which it asked to enter.
    Entered(Id),
    /// The client is out of this room, which it asked to exit.
    Exited(Id),
    /// The client only remembers the cursor.
    Nothing,
}

impl Reference {
    /// Observes a message; `now` is the state of the server at the latest. Returns the cursor from
    /// which the client would resume now too.
    ///
    /// # Errors
    /// When the message is wrong.
    pub(crate) fn observe(
        &mut self,
        serial: usize,
        message: &ServerMessage,
        now: Moment,
    ) -> Result<(Reaction, Option<String>), String> {
        let mut given = None;
        let reaction = match message {
            ServerMessage::Cursor(cursor) => {
                given = Some(cursor.clone());
                self.observe_cursor(serial, cursor)?
            }
            ServerMessage::Event { name, data, cursor, ack } => {
                given.clone_from(cursor);
                let cursor = cursor.as_deref();
                match (&**name, cursor, ack) {
                    ("connected", Some(cursor), None) => self.observe_connected(serial, data, cursor, now)?,
                    ("lost", Some(cursor), None) => self.observe_lost(serial, data, cursor, now)?,
                    ("reconnect", None, None) => self.observe_reconnect(serial, data)?,
                    ("e", Some(cursor), None) => self.observe_event(serial, data, cursor)?,
                    ("q", None, Some(ack)) => self.observe_ask(serial, data, *ack)?,
                    ("v", None, None) => self.observe_volatile(serial, data)?,
                    _ => return Err("not an event that was sent".to_owned()),
                }
            }
            ServerMessage::Close => Reaction::End,
            ServerMessage::Refused(text) => self.observe_refusal(serial, text)?,
            ServerMessage::Reply { ack, ok } => self.observe_reply(serial, *ack, *ok)?,
        };
        if !self.conns[serial].connected && !matches!(reaction, Reaction::Connected | Reaction::End) {
            return Err("before \"connected\"".to_owned());
        }
        if let Some(given) = &given {
            let mark = self.log_of(&self.conns[serial]).mark(self.position(serial, given)?);
            self.given.insert(given.clone(), Given { mark, process: self.process });
        }
        Ok((reaction, given))
    }

    fn observe_event(&mut self, serial: usize, data: &Value, cursor: &str) -> Result<Reaction, String> {
        let (number, position) = self.logged(serial, data)?;
        if self.position(serial, cursor)? != position {
            return Err(format!("not its position, which is {position}"));
        }
        let record = self.log_of(&self.conns[serial]).record(position);
        if record.kind != RecordKind::Event || record.number != number {
            return Err("not delivered as an event".to_owned());
        }
        self.arrive(serial, position)?;
        let life = self.conns[serial].life.unwrap_or(self.life());
        let (conn, Life { epoch, log, .. }) = (&mut self.conns[serial], &self.lives[life]);
        conn.owed.retain(|owed| !log.is_same_series(owed.position, position));
        conn.position = position;
        let registered = conn.registered.filter(|moment| moment.life == life);
        let (client, resumed, registered_end) = (conn.client, conn.resumed, registered.map_or(0, |moment| moment.end));
        if !self.delivered[client].insert((epoch.get(), position)) {
            return Err("received a second time".to_owned());
        }
        self.cover_event(serial, position, resumed && position <= registered_end);
        Ok(Reaction::Nothing)
    }

    /// Counts what an event has shown; `replayed` if it was sent before the connection.
    fn cover_event(&mut self, serial: usize, position: Position, replayed: bool) {
        let conn = &self.conns[serial];
        let (log, transport) = (self.log_of(conn), conn.viewer.transport);
        let Record { audience, latest, by, process, .. } = log.record(position);
        let (scope, by, of_another_node, is_latest) = (audience.scope, *by, process.is_none(), latest.is_some());
        let exception = audience.has_exception();
        let is_room = matches!(scope, Scope::Room(_) | Scope::RoomIn(..));
        let has_left = is_room && log.is_for(&conn.viewer, audience, log.end() + 1) == Visibility::No;
        self.cover("event");
        self.cover(match scope {
            Scope::All => "event to all",
            Scope::Room(_) => "event to a room",
            Scope::RoomIn(..) => "event to a room of a tenant",
            Scope::Tenant(_) => "event to a tenant",
            Scope::User(_) => "event to a user",
            Scope::UserIn(..) => "event to a user of a tenant",
        });
        self.cover_if(replayed, "event seen after a resume");
        let sent_by = match by {
            By::All => "event over all transports",
            By::Handler(_) => "event of a handler, over all transports",
            By::Named(_) => "event over two transports",
            By::Provider => "event over one transport",
        };
        self.cover_over(transport, self.setup.mixed, sent_by);
        self.cover_if(of_another_node, "event of another node");
        self.cover_if(exception, "event with an exception");
        self.cover_if(is_latest, "event with a latest key");
        self.cover_if(has_left, "event to a room, after the viewer left it");
    }

    fn observe_ask(&mut self, serial: usize, data: &Value, ack: u64) -> Result<Reaction, String> {
        let (number, position) = self.logged(serial, data)?;
        let record = self.log_of(&self.conns[serial]).record(position);
        if record.kind != RecordKind::Ask || record.number != number {
            return Err("not delivered as an ask".to_owned());
        }
        self.arrive(serial, position)?;
        let conn = &self.conns[serial];
        let (earliest, _) = self.registered(conn, conn.life.unwrap_or(self.life()), conn.requested);
        if earliest.end >= position {
            return Err(format!("an ask from before the connection, which was registered after {}", earliest.end));
        }
        let conn = &mut self.conns[serial];
        if conn.asks.insert(number, Asked::default()).is_some() {
            return Err("an ask for the second time".to_owned());
        }
        conn.position = position;
        self.cover("ask");
        Ok(Reaction::Ask { ack, number })
    }

    fn observe_volatile(&mut self, serial: usize, data: &Value) -> Result<Reaction, String> {
        let number = number(data)?;
        let Some(Sent::Volatile { may, pad }) = self.sent.get(number as usize) else {
            return Err("not sent as a volatile event".to_owned());
        };
        check_pad(data, *pad)?;
        if !may.contains(&serial) {
            return Err("a volatile event for others, or from before the connection".to_owned());
        }
        if !self.conns[serial].volatile.insert(number) {
            return Err("a volatile event for the second time".to_owned());
        }
        self.cover("volatile event");
        Ok(Reaction::Nothing)
    }

    fn observe_lost(&mut self, serial: usize, data: &Value, cursor: &str, now: Moment) -> Result<Reaction, String> {
        let now = self.moment_of(&self.conns[serial], now);
        let from = self.position(serial, data["from"].as_str().unwrap_or_default())?;
        let until = self.position(serial, data["until"].as_str().unwrap_or_default())?;
        if self.position(serial, cursor)? != until {
            return Err("its cursor is not its end".to_owned());
        }
        if from < self.conns[serial].position || until <= from {
            let position = self.conns[serial].position;
            return Err(format!("lost {from} to {until}, but everything up to {position} was received"));
        }
        if !data["position"].is_null() {
            return self.observe_skipped(serial, data, from, until);
        }
        if from >= now.start {
            return Err(format!("lost from {from} on, but the window from {} to {} has it", now.start, now.end));
        }
        // A client that has lost its position continues after the oldest quarter of the window, and
        // an eighth more at most.
        let records = now.end - now.start;
        let most = now.start + records / 4 + records / 8;
        if until > most {
            return Err(format!("lost up to {until}, but the window from {} to {} begins before", now.start, now.end));
        }
        self.check_gap(serial, from)?;
        self.cover_lost(serial, (from, until), now);
        let conn = &mut self.conns[serial];
        conn.position = until;
        // The events that would have come instead may be among the lost ones.
        conn.owed.clear();
        self.cover("lost");
        Ok(Reaction::Nothing)
    }

    /// One event was skipped, for it is large and connections of the user have ended within it, at
    /// least three times.
    fn observe_skipped(&mut self, serial: usize, data: &Value, from: u64, until: u64) -> Result<Reaction, String> {
        let (conn, size) = (&self.conns[serial], data["size"].as_u64().unwrap_or_default() as usize);
        let log = self.log_of(conn);
        let record = log.record(until);
        if data["position"] != until || from + 1 != until {
            return Err(format!("skipped at {}, but lost {from} to {until}", data["position"]));
        }
        if record.kind != RecordKind::Event || log.sees(&conn.viewer, until) == Visibility::No {
            return Err("skipped, but it was not for this connection".to_owned());
        }
        let Some(Sent::Logged { pad, .. }) = self.sent.get(record.number as usize) else {
            return Err("skipped, but it was never sent".to_owned());
        };
        if size <= LARGE || !(*pad..*pad + 700).contains(&size) {
            return Err(format!("skipped with a size of {size}, and {pad} of padding"));
        }
        let is_of_user = |other: &&Conn| other.viewer.identity == conn.viewer.identity && other.life == conn.life;
        let of_the_user = self.current_conns().filter(is_of_user);
        let cuts = of_the_user.filter(|other| other.ended_within(record.number)).count();
        if cuts < 3 || conn.viewer.identity.user.is_none() {
            return Err(format!("skipped, and {cuts} connections of the user have ended within it"));
        }
        self.check_gap(serial, from)?;
        self.conns[serial].position = until;
        self.cover("event skipped");
        Ok(Reaction::Nothing)
    }

    fn observe_cursor(&mut self, serial: usize, cursor: &str) -> Result<Reaction, String> {
        let position = self.position(serial, cursor)?;
        if position < self.conns[serial].position || position > self.log_of(&self.conns[serial]).end() {
            return Err(format!("a cursor that leads from {} to {position}", self.conns[serial].position));
        }
        self.check_gap(serial, position)?;
        self.conns[serial].position = position;
        self.cover("cursor without an event");
        Ok(Reaction::Nothing)
    }

    fn observe_reconnect(&mut self, serial: usize, data: &Value) -> Result<Reaction, String> {
        if !self.conns[serial].may_end() {
            return Err("asked to reconnect without a restart".to_owned());
        }
        let delay = data["delayMs"].as_u64();
        // A browser keeps the time of an event stream for as long as no server answers.
        let bounds = if self.conns[serial].viewer.transport == Transport::Sse { 1_000..=4_000 } else { 100..=2_000 };
        if !delay.is_some_and(|delay| bounds.contains(&delay)) {
            return Err("a delay out of its bounds".to_owned());
        }
        self.cover("reconnect delay received");
        Ok(Reaction::Nothing)
    }

    fn observe_refusal(&mut self, serial: usize, text: &str) -> Result<Reaction, String> {
        let conn = &self.conns[serial];
        if conn.connected {
            return if conn.may_end() { Ok(Reaction::End) } else { Err("rejected after `connected`".to_owned()) };
        }
        if conn.named.contains(&CLOSED_ROOM) && (text == "403" || text.contains("room")) {
            self.cover("rejected: room");
            return Ok(Reaction::End);
        }
        if conn.undisturbed { Err("rejected".to_owned()) } else { Ok(Reaction::End) }
    }

    fn observe_reply(&mut self, serial: usize, ack: u64, ok: bool) -> Result<Reaction, String> {
        let end = self.log_of(&self.conns[serial]).end();
        let conn = &mut self.conns[serial];
        let request = conn.request.take().filter(|request| request.ack == ack).ok_or("a reply to nothing")?;
        let (room, own) = (request.room, &mut conn.viewer.own);
        if ok != (!request.enter || room != CLOSED_ROOM) {
            return Err("the policy says otherwise".to_owned());
        }
        if !ok {
            self.cover("room entry denied");
            return Ok(Reaction::Nothing);
        }
        if request.enter {
            own.entered_by(room, end);
            self.cover("room entered");
            Ok(Reaction::Entered(room))
        } else {
            own.left_by(room, end);
            self.cover("room exited");
            Ok(Reaction::Exited(room))
        }
    }

    /// Returns a cursor's position in the life of the log that a connection belongs to.
    pub(crate) fn position(&self, serial: usize, cursor: &str) -> Result<Position, String> {
        let cursor: Cursor = cursor.parse().map_err(|error| format!("{error}: {cursor:?}"))?;
        let conn = &self.conns[serial];
        if cursor.epoch() != self.lives[conn.life.unwrap_or(self.life())].epoch {
            return Err("a cursor of another epoch".to_owned());
        }
        let position = cursor.position().get();
        let end = self.log_of(conn).end();
        if position <= end { Ok(position) } else { Err(format!("a position after the log's end, which is {end}")) }
    }

    /// Returns the number of an event, and its position in the log that a connection reads.
    fn logged(&self, serial: usize, data: &Value) -> Result<(u64, Position), String> {
        let number = number(data)?;
        let log = self.log_of(&self.conns[serial]);
        match self.sent.get(number as usize) {
            Some(Sent::Logged { position, pad })
                if *position <= log.end() && log.record(*position).number == number =>
            {
                check_pad(data, *pad)?;
                Ok((number, *position))
            }
            _ => Err("not in this log".to_owned()),
        }
    }
}

fn number(data: &Value) -> Result<u64, String> {
    data["n"].as_u64().ok_or_else(|| "without a number".to_owned())
}

fn check_pad(data: &Value, pad: usize) -> Result<(), String> {
    let right = data["pad"].as_str().is_some_and(|text| text.len() == pad && text.bytes().all(|byte| byte == b'x'));
    if right { Ok(()) } else { Err("its payload is damaged".to_owned()) }
}
