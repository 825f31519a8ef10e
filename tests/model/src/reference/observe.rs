//! What a client may hear: every message is held against the reference.

use realtime_core::Cursor;
use realtime_wire::{ServerMessage, Transport};
use serde_json::Value;

use crate::conn::{Asked, Moment};
use crate::frame_probe::LARGE;
use crate::generate::{CLOSED_ROOM, FROM_NOW_ROOM};
use crate::log::{Position, RecordKind};
use crate::reference::lives::Life;
use crate::reference::{Given, Reference, Sent};
use crate::rooms::Visibility;
use crate::schedule::{By, Id, Scope};

/// What a message means for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// To be answered with this number.
    Ask {
        ack: u64,
        number: u64,
    },
    /// The connection is made, and it is in the rooms it named.
    Connected,
    /// The server ends it.
    End,
    Entered(Id),
    Exited(Id),
    Nothing,
}

/// What was heard, for the trace and the digest.
pub(crate) struct Observation {
    pub(crate) reaction: Reaction,
    /// The position from which the client would go on now.
    pub(crate) cursor: Option<String>,
}

impl Reference {
    /// Takes a message; `now` is where the server is at the latest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn observe(
        &mut self,
        serial: usize,
        message: &ServerMessage,
        now: Moment,
    ) -> Result<Observation, String> {
        let mut told = None;
        let reaction = match message {
            ServerMessage::Cursor(cursor) => {
                told = Some(cursor.clone());
                self.observe_cursor(serial, cursor)?
            }
            ServerMessage::Event { name, data, cursor, ack } => {
                told.clone_from(cursor);
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
        let early = !self.conns[serial].connected && !matches!(reaction, Reaction::Connected | Reaction::End);
        if early {
            return Err("before \"connected\"".to_owned());
        }
        if let Some(told) = &told {
            let mark = self.log_of(&self.conns[serial]).mark(self.position(serial, told)?);
            self.given.insert(told.clone(), Given { mark, process: self.process });
        }
        Ok(Observation { reaction, cursor: told })
    }

    fn observe_connected(
        &mut self,
        serial: usize,
        data: &Value,
        cursor: &str,
        now: Moment,
    ) -> Result<Reaction, String> {
        let conn = &self.conns[serial];
        if conn.connected {
            return Err("a second \"connected\"".to_owned());
        }
        // A connection is of one life of the log, whatever happened meanwhile.
        let epoch = cursor.parse::<Cursor>().map_err(|error| format!("{error}: {cursor:?}"))?.epoch();
        let life = self.life_of(epoch).ok_or("a position of an unknown epoch")?;
        if conn.life.is_some_and(|known| known != life) {
            return Err("a position of another life than that in which it was registered".to_owned());
        }
        self.conns[serial].life = Some(life);
        self.conns[serial].outdated = life != self.life();
        let position = self.position(serial, cursor)?;
        let conn = &self.conns[serial];
        let (earliest, latest) = self.registered(conn, life, now);
        let presented = conn.presented.as_deref();
        if data["cursor"] != cursor || data["message"] != "connected" {
            return Err("the welcome's position is not its cursor".to_owned());
        }
        if conn.viewer.connection.as_ref().is_some_and(|id| data["connectionId"] != id.as_str()) {
            return Err("the welcome names another connection".to_owned());
        }
        let reason = data["reason"].as_str().unwrap_or_default();
        let resumed = data["resumed"] == Value::Bool(true);
        let right = self.explain(serial, (earliest, latest), reason, resumed);
        let Some(covered) = right else {
            return Err(format!("the wrong reason: at {earliest:?} to {latest:?}"));
        };
        if resumed && presented != Some(cursor) || !resumed && !(earliest.end..=latest.end).contains(&position) {
            return Err(format!("it goes on from {position}: at {earliest:?} to {latest:?}"));
        }
        if conn.named.contains(&CLOSED_ROOM) {
            return Err("let into a closed room".to_owned());
        }
        let (identity, users) = (conn.viewer.identity, &self.lives[life].log.users);
        let entered = |room| {
            if room == FROM_NOW_ROOM && resumed {
                return (room, earliest.end, latest.end);
            }
            // Nothing of before it was taken out.
            let left = |by| users.left(identity, room, by).max(position);
            (room, left(earliest.end), left(latest.end))
        };
        let entered: Vec<_> = conn.named.iter().copied().map(entered).collect();
        let conn = &mut self.conns[serial];
        conn.connected = true;
        conn.resumed = resumed;
        conn.position = position;
        entered.iter().for_each(|(room, from, to)| conn.viewer.own.entered_between(*room, *from, *to));
        if !self.conns[serial].named.is_empty() {
            self.cover("room named when connecting");
        }
        if resumed && position > 0 && position == earliest.start && position == earliest.end {
            self.cover("resumed at the end of a quiet log");
        }
        let across = self.conns[serial].requested.life != life;
        self.cover(covered);
        if let Some((from, to)) = self.crossing(serial).filter(|_| resumed) {
            self.coverage.add(from, "left for another transport, and resumed", 1);
            self.coverage.add(to, "resumed from another transport", 1);
        }
        self.cover_position(serial, covered, latest);
        if across {
            self.cover("connected while the log began anew");
        }
        Ok(Reaction::Connected)
    }

    /// What it means that a connection is told this reason, if it may be told so when it was registered between these moments.
    fn explain(
        &self,
        serial: usize,
        (earliest, latest): (Moment, Moment),
        reason: &str,
        resumed: bool,
    ) -> Option<&'static str> {
        let conn = &self.conns[serial];
        let (log, identity) = (self.log_of(conn), conn.viewer.identity);
        if resumed == (reason != "resumed") {
            return None;
        }
        let Some(text) = conn.presented.as_deref() else { return (reason == "new").then_some("connected: new") };
        let is_invalid = reason == "invalid";
        let Ok(cursor) = text.parse::<Cursor>() else { return is_invalid.then_some("connected: invalid") };
        if cursor.epoch() != self.lives[latest.life].epoch {
            return (reason == "epoch").then_some("connected: epoch");
        }
        let Some(given) = self.given.get(text) else {
            return is_invalid.then_some("connected: invalid, made up in this epoch");
        };
        let position = cursor.position().get();
        let ended = |by| position < log.users.ended(identity, by);
        let is_same = position <= latest.end && log.mark(position) == given.mark;
        match reason {
            "epoch" => (position > earliest.end || !is_same).then_some("connected: epoch, for its record is gone"),
            "expired" if position < latest.start => Some("connected: expired"),
            "expired" => (is_same && ended(latest.end)).then_some("connected: expired by absence"),
            "resumed" if !is_same || position < earliest.start || ended(earliest.end) => None,
            "resumed" if given.process != self.process => Some("connected: resumed at another process"),
            "resumed" => Some("connected: resumed"),
            _ => None,
        }
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
        let (scope, latest, of_another_node) = (record.audience.scope, record.latest, record.process.is_none());
        let exception = record.audience.except_user.is_some() || record.audience.except_connection.is_some();
        let by = record.by;
        self.arrive(serial, position)?;
        let life = self.conns[serial].life.unwrap_or(self.life());
        let (conn, Life { epoch, log, .. }) = (&mut self.conns[serial], &self.lives[life]);
        conn.owed.retain(|owed| !log.is_same_series(owed.position, position));
        conn.position = position;
        let came = conn.registered.filter(|came| came.life == life);
        let (client, resumed, born) = (conn.client, conn.resumed, came.map_or(0, |came| came.end));
        if !self.delivered[client].insert((epoch.get(), position)) {
            return Err("a second time".to_owned());
        }
        self.cover("event");
        self.cover(match scope {
            Scope::All => "event to all",
            Scope::Room(_) => "event to a room",
            Scope::RoomIn(..) => "event to a room of a tenant",
            Scope::Tenant(_) => "event to a tenant",
            Scope::User(_) => "event to a user",
            Scope::UserIn(..) => "event to a user of a tenant",
        });
        if resumed && position <= born {
            self.cover("event seen after a resume");
        }
        let transport = self.conns[serial].viewer.transport;
        let sent_by = match by {
            By::All => "event over all transports",
            By::Handler(_) => "event of a handler, over all transports",
            By::Named(_) => "event over two transports",
            By::Provider => "event over one transport",
        };
        if self.setup.mixed {
            self.coverage.add(transport, sent_by, 1);
        }
        if of_another_node {
            self.cover("event of another node");
        }
        if exception {
            self.cover("event with an exception");
        }
        if latest.is_some() {
            self.cover("event with a latest key");
        }
        if let Scope::Room(_) | Scope::RoomIn(..) = scope
            && let log = self.log_of(&self.conns[serial])
            && log.is_for(&self.conns[serial].viewer, &log.record(position).audience, log.end() + 1) == Visibility::No
        {
            self.cover("event to a room, to someone who has left it since");
        }
        Ok(Reaction::Nothing)
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
            return Err(format!("an ask of before the connection, which came after {}", earliest.end));
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
            return Err("a volatile event for others, or of before the connection".to_owned());
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
            return Err("its position is not where it ends".to_owned());
        }
        if from < self.conns[serial].position || until <= from {
            return Err(format!("lost {from} to {until}, but everything up to {} came", self.conns[serial].position));
        }
        if !data["position"].is_null() {
            return self.observe_passed_over(serial, data, (from, until));
        }
        if from >= now.start {
            return Err(format!("lost from {from} on, but the window from {} to {} has it", now.start, now.end));
        }
        // Who has lost its position goes on after the oldest quarter of the window, and an eighth more at most.
        let records = now.end - now.start;
        let most = now.start + records / 4 + records / 8;
        if until > most {
            return Err(format!("lost up to {until}, but the window from {} to {} begins before", now.start, now.end));
        }
        self.check_gap(serial, from)?;
        self.cover_lost(serial, (from, until), now);
        let conn = &mut self.conns[serial];
        conn.position = until;
        // What would have come instead may be among what is lost.
        conn.owed.clear();
        self.cover("lost");
        Ok(Reaction::Nothing)
    }

    /// One event was passed over, for it is large and connections of the user have ended within it, three times at least.
    fn observe_passed_over(
        &mut self,
        serial: usize,
        data: &Value,
        position: (Position, Position),
    ) -> Result<Reaction, String> {
        let (from, until) = position;
        let (conn, size) = (&self.conns[serial], data["size"].as_u64().unwrap_or_default() as usize);
        let log = self.log_of(conn);
        let record = log.record(until);
        if data["position"] != until || from + 1 != until {
            return Err(format!("passed over at {}, but lost {from} to {until}", data["position"]));
        }
        if record.kind != RecordKind::Event || log.sees(&conn.viewer, until) == Visibility::No {
            return Err("passed over, which was not for it".to_owned());
        }
        let Some(Sent::Logged { pad, .. }) = self.sent.get(record.number as usize) else {
            return Err("passed over, which was never sent".to_owned());
        };
        if size <= LARGE || !(*pad..*pad + 700).contains(&size) {
            return Err(format!("passed over with a size of {size}, and {pad} of padding"));
        }
        let current = self.conns[self.first..].iter();
        let of_the_user =
            current.filter(|other| other.viewer.identity == conn.viewer.identity && other.life == conn.life);
        let cuts = of_the_user.filter(|other| other.ended_within(record.number)).count();
        if cuts < 3 || conn.viewer.identity.user.is_none() {
            return Err(format!("passed over, and {cuts} connections of the user have ended within it"));
        }
        self.check_gap(serial, from)?;
        self.conns[serial].position = until;
        self.cover("event passed over");
        Ok(Reaction::Nothing)
    }

    fn observe_cursor(&mut self, serial: usize, cursor: &str) -> Result<Reaction, String> {
        let position = self.position(serial, cursor)?;
        if position < self.conns[serial].position || position > self.log_of(&self.conns[serial]).end() {
            return Err(format!("a position that leads from {} to {position}", self.conns[serial].position));
        }
        self.check_gap(serial, position)?;
        self.conns[serial].position = position;
        self.cover("position without an event");
        Ok(Reaction::Nothing)
    }

    fn observe_reconnect(&mut self, serial: usize, data: &Value) -> Result<Reaction, String> {
        if !self.conns[serial].may_end() {
            return Err("told to come back without a restart".to_owned());
        }
        let delay = data["delayMs"].as_u64();
        // A browser keeps the time of an event stream for as long as nobody answers.
        let bounds = if self.conns[serial].viewer.transport == Transport::Sse { 1_000..=4_000 } else { 100..=2_000 };
        if !delay.is_some_and(|delay| bounds.contains(&delay)) {
            return Err("a delay out of its bounds".to_owned());
        }
        self.cover("told when to come back");
        Ok(Reaction::Nothing)
    }

    fn observe_refusal(&mut self, serial: usize, text: &str) -> Result<Reaction, String> {
        let conn = &self.conns[serial];
        if conn.connected {
            return if conn.may_end() { Ok(Reaction::End) } else { Err("refused after all".to_owned()) };
        }
        if conn.named.contains(&CLOSED_ROOM) && (text == "403" || text.contains("room")) {
            self.cover("refused: room");
            return Ok(Reaction::End);
        }
        if conn.undisturbed { Err("refused".to_owned()) } else { Ok(Reaction::End) }
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

    /// A position in the life of the log that a connection belongs to.
    fn position(&self, serial: usize, cursor: &str) -> Result<Position, String> {
        let cursor: Cursor = cursor.parse().map_err(|error| format!("{error}: {cursor:?}"))?;
        let conn = &self.conns[serial];
        if cursor.epoch() != self.lives[conn.life.unwrap_or(self.life())].epoch {
            return Err("a position of another epoch".to_owned());
        }
        let position = cursor.position().get();
        let end = self.log_of(conn).end();
        if position <= end { Ok(position) } else { Err(format!("a position after the log's end, which is {end}")) }
    }

    /// The number of an event, and where it is in the log that a connection reads.
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
