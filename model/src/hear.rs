//! What a client may hear: every word is held against the reference.

use realtime_core::Cursor;
use serde_json::Value;

use crate::client::Word;
use crate::conn::{Asked, Moment, Owed};
use crate::generate::{CLOSED_ROOM, FROM_NOW_ROOM};
use crate::log::{Place, Sees, What};
use crate::reference::{Reference, Sent};
use crate::schedule::{Id, Scope};

/// What a word means for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
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
pub(crate) struct Hearing {
    pub(crate) meaning: Meaning,
    /// The place from which the client would go on now.
    pub(crate) cursor: Option<String>,
}

impl Reference {
    /// Takes a word; `now` is where the server is at the latest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn hear(&mut self, serial: usize, word: &Word, now: Moment) -> Result<Hearing, String> {
        let mut told = None;
        let meaning = match word {
            Word::Cursor(cursor) => {
                told = Some(cursor.clone());
                self.hear_cursor(serial, cursor)?
            }
            Word::Event { name, data, cursor, ack } => {
                told.clone_from(cursor);
                let cursor = cursor.as_deref();
                match (&**name, cursor, ack) {
                    ("connected", Some(cursor), None) => self.hear_connected(serial, data, cursor, now)?,
                    ("lost", Some(cursor), None) => self.hear_lost(serial, data, cursor, now)?,
                    ("reconnect", None, None) => self.hear_reconnect(serial, data)?,
                    ("e", Some(cursor), None) => self.hear_event(serial, data, cursor)?,
                    ("q", None, Some(ack)) => self.hear_ask(serial, data, *ack)?,
                    ("v", None, None) => self.hear_volatile(serial, data)?,
                    _ => return Err("not an event that was sent".to_owned()),
                }
            }
            Word::Goodbye => Meaning::End,
            Word::Refused(text) => self.hear_refusal(serial, text)?,
            Word::Reply { ack, ok } => self.hear_reply(serial, *ack, *ok)?,
        };
        let early = !self.conns[serial].connected && !matches!(meaning, Meaning::Connected | Meaning::End);
        if early {
            return Err("before \"connected\"".to_owned());
        }
        self.given.extend(told.clone());
        Ok(Hearing { meaning, cursor: told })
    }

    fn hear_connected(&mut self, serial: usize, data: &Value, cursor: &str, now: Moment) -> Result<Meaning, String> {
        let conn = &self.conns[serial];
        if conn.connected {
            return Err("a second \"connected\"".to_owned());
        }
        let place = self.place(cursor)?;
        let latest = conn.came.unwrap_or(now);
        let (earliest, presented) = (conn.asked, conn.presented.as_deref());
        if data["cursor"] != cursor || data["message"] != "connected" {
            return Err("the welcome's place is not its cursor".to_owned());
        }
        if conn.viewer.connection.as_ref().is_some_and(|id| data["connectionId"] != id.as_str()) {
            return Err("the welcome names another connection".to_owned());
        }
        let reason = data["reason"].as_str().unwrap_or_default();
        let resumed = data["resumed"] == Value::Bool(true);
        let person = conn.viewer.person;
        let mut by_absence = false;
        let right = match presented.map(str::parse::<Cursor>) {
            None => reason == "new",
            Some(Err(_)) => reason == "invalid",
            Some(Ok(cursor)) if cursor.epoch() != self.epoch => reason == "epoch",
            Some(Ok(_)) if presented.is_none_or(|text| !self.given.contains(text)) => reason == "invalid",
            Some(Ok(cursor)) => {
                let place = cursor.position().get();
                let ended = |by| place < self.log.ended(person, by);
                let expired = (place < latest.start || ended(latest.end)) && reason == "expired";
                let resumed = place <= latest.end && place >= earliest.start && !ended(earliest.end) && resumed;
                by_absence = expired && place >= latest.start;
                expired || resumed
            }
        };
        if !right {
            return Err(format!("the wrong reason: at {earliest:?} to {latest:?}"));
        }
        if resumed && presented != Some(cursor) || !resumed && !(earliest.end..=latest.end).contains(&place) {
            return Err(format!("it goes on from {place}: at {earliest:?} to {latest:?}"));
        }
        let named = conn.named.clone();
        if named.contains(&CLOSED_ROOM) {
            return Err("let into a closed room".to_owned());
        }
        let conn = &mut self.conns[serial];
        conn.connected = true;
        conn.resumed = resumed;
        conn.place = place;
        for room in named {
            let (from, to) = if room == FROM_NOW_ROOM && resumed {
                (earliest.end, latest.end)
            } else {
                // Nothing of before it was taken out.
                let left = |by| self.log.left(person, room, by).max(place);
                (left(earliest.end), left(latest.end))
            };
            conn.viewer.own.entered_between(room, from, to);
        }
        if !self.conns[serial].named.is_empty() {
            self.cover("room named when connecting");
        }
        if resumed && place > 0 && place == earliest.start && place == earliest.end {
            self.cover("resumed at the end of a quiet log");
        }
        if by_absence {
            self.cover("connected: expired by absence");
        }
        self.cover(match reason {
            "epoch" => "connected: epoch",
            "expired" => "connected: expired",
            "invalid" => "connected: invalid",
            "new" => "connected: new",
            _ if resumed => "connected: resumed",
            _ => return Err("an unknown reason".to_owned()),
        });
        Ok(Meaning::Connected)
    }

    fn hear_event(&mut self, serial: usize, data: &Value, cursor: &str) -> Result<Meaning, String> {
        let (number, place) = self.logged(data)?;
        if self.place(cursor)? != place {
            return Err(format!("not its place, which is {place}"));
        }
        let record = self.log.record(place);
        if !matches!(record.what, What::Event | What::Unsure) || record.number != number {
            return Err("not delivered as an event".to_owned());
        }
        let (scope, latest) = (record.audience.scope, record.latest);
        let exception = record.audience.except_user.is_some() || record.audience.except_connection.is_some();
        self.arrive(serial, place)?;
        let (conn, log) = (&mut self.conns[serial], &self.log);
        conn.owed.retain(|owed| !log.is_same_series(owed.place, place));
        conn.place = place;
        let (client, resumed, born) = (conn.client, conn.resumed, conn.came.map_or(0, |came| came.end));
        if !self.delivered[client].insert(place) {
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
        if resumed && place <= born {
            self.cover("event seen after a resume");
        }
        if exception {
            self.cover("event with an exception");
        }
        if latest.is_some() {
            self.cover("event with a latest key");
        }
        if let Scope::Room(_) | Scope::RoomIn(..) = scope
            && self.log.is_for(&self.conns[serial].viewer, &self.log.record(place).audience, self.log.end() + 1)
                == Sees::No
        {
            self.cover("event to a room, to someone who has left it since");
        }
        Ok(Meaning::Nothing)
    }

    fn hear_ask(&mut self, serial: usize, data: &Value, ack: u64) -> Result<Meaning, String> {
        let (number, place) = self.logged(data)?;
        let record = self.log.record(place);
        if record.what != What::Ask || record.number != number {
            return Err("not delivered as an ask".to_owned());
        }
        self.arrive(serial, place)?;
        let conn = &mut self.conns[serial];
        if conn.asked.end >= place {
            return Err(format!("an ask of before the connection, which came after {}", conn.asked.end));
        }
        if conn.asks.insert(number, Asked::default()).is_some() {
            return Err("an ask for the second time".to_owned());
        }
        conn.place = place;
        self.cover("ask");
        Ok(Meaning::Ask { ack, number })
    }

    fn hear_volatile(&mut self, serial: usize, data: &Value) -> Result<Meaning, String> {
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
        Ok(Meaning::Nothing)
    }

    fn hear_lost(&mut self, serial: usize, data: &Value, cursor: &str, now: Moment) -> Result<Meaning, String> {
        let from = self.place(data["from"].as_str().unwrap_or_default())?;
        let until = self.place(data["until"].as_str().unwrap_or_default())?;
        if self.place(cursor)? != until {
            return Err("its place is not where it ends".to_owned());
        }
        if from < self.conns[serial].place || until <= from {
            return Err(format!("lost {from} to {until}, but everything up to {} came", self.conns[serial].place));
        }
        if until > now.start {
            return Err(format!("lost up to {until}, but the window begins at {}", now.start));
        }
        self.check_gap(serial, from)?;
        let conn = &mut self.conns[serial];
        conn.place = until;
        // What would have come instead may be among what is lost.
        conn.owed.clear();
        self.cover("lost");
        Ok(Meaning::Nothing)
    }

    fn hear_cursor(&mut self, serial: usize, cursor: &str) -> Result<Meaning, String> {
        let place = self.place(cursor)?;
        if place < self.conns[serial].place || place > self.log.end() {
            return Err(format!("a place that leads from {} to {place}", self.conns[serial].place));
        }
        self.check_gap(serial, place)?;
        self.conns[serial].place = place;
        self.cover("place without an event");
        Ok(Meaning::Nothing)
    }

    fn hear_reconnect(&mut self, serial: usize, data: &Value) -> Result<Meaning, String> {
        if self.conns[serial].calm {
            return Err("told to come back without a restart".to_owned());
        }
        let delay = data["delayMs"].as_u64();
        if !delay.is_some_and(|delay| (100..=2_000).contains(&delay)) {
            return Err("a delay out of its bounds".to_owned());
        }
        self.cover("told when to come back");
        Ok(Meaning::Nothing)
    }

    fn hear_refusal(&mut self, serial: usize, text: &str) -> Result<Meaning, String> {
        let conn = &self.conns[serial];
        if conn.connected {
            return if conn.calm { Err("refused after all".to_owned()) } else { Ok(Meaning::End) };
        }
        if conn.named.contains(&CLOSED_ROOM) && (text == "403" || text.contains("room")) {
            self.cover("refused: room");
            return Ok(Meaning::End);
        }
        if conn.calm { Err("refused".to_owned()) } else { Ok(Meaning::End) }
    }

    fn hear_reply(&mut self, serial: usize, ack: u64, ok: bool) -> Result<Meaning, String> {
        let end = self.log.end();
        let conn = &mut self.conns[serial];
        let request = conn.request.take().filter(|request| request.ack == ack).ok_or("a reply to nothing")?;
        let (room, own) = (request.room, &mut conn.viewer.own);
        if ok != (!request.enter || room != CLOSED_ROOM) {
            return Err("the policy says otherwise".to_owned());
        }
        if !ok {
            self.cover("room entry denied");
            return Ok(Meaning::Nothing);
        }
        if request.enter {
            own.entered_by(room, end);
            self.cover("room entered");
            Ok(Meaning::Entered(room))
        } else {
            own.left_by(room, end);
            self.cover("room exited");
            Ok(Meaning::Exited(room))
        }
    }

    /// Whether a record may come now: it is for this connection, it is the next one, and none is missing before it.
    fn arrive(&mut self, serial: usize, place: Place) -> Result<(), String> {
        let conn = &self.conns[serial];
        if place <= conn.place {
            return Err(format!("a duplicate or out of order: everything up to {} has come", conn.place));
        }
        if self.log.sees(&conn.viewer, place) == Sees::No {
            return Err(format!("for others: {:?}, not {:?}", self.log.record(place).audience, conn.viewer));
        }
        self.check_gap(serial, place - 1)
    }

    /// Whether nothing is missing up to here.
    pub(crate) fn check_gap(&mut self, serial: usize, until: Place) -> Result<(), String> {
        self.check_owed(serial, until)?;
        let mut superseded = Vec::new();
        let conn = &self.conns[serial];
        for place in conn.place + 1..=until {
            let record = self.log.record(place);
            let due = match record.what {
                What::Event => true,
                What::Ask => self.is_live(serial, place),
                What::Nothing | What::Unsure => false,
            };
            if !due || self.log.sees(&conn.viewer, place) != Sees::Yes {
                continue;
            }
            if self.log.is_superseded(&conn.viewer, place) && !self.is_live(serial, place) {
                superseded.push(Owed { place, until: self.log.end() });
                continue;
            }
            return Err(format!("a gap: n={} at {place} did not come: {:?}", record.number, record.audience));
        }
        for _ in &superseded {
            self.cover("event superseded");
        }
        self.conns[serial].owed.extend(superseded);
        Ok(())
    }

    /// Whether nothing that was passed over for a newer one is kept from the client for longer than the log of that moment.
    fn check_owed(&mut self, serial: usize, until: Place) -> Result<(), String> {
        let conn = &self.conns[serial];
        let is_over = |owed: &&Owed| owed.until < until;
        let mut over = conn.owed.iter().filter(is_over);
        if let Some(owed) = over.find(|owed| self.log.has_newer(&conn.viewer, owed.place, owed.until)) {
            let Owed { place, until } = owed;
            return Err(format!("a series is kept back: {place} was passed over, and no newer one came up to {until}"));
        }
        self.conns[serial].owed.retain(|owed| owed.until >= until);
        Ok(())
    }

    /// Whether a connection cannot have been behind when this record was applied: it had taken everything before, and less
    /// was sent since than its outbox holds.
    fn is_live(&self, serial: usize, place: Place) -> bool {
        let Some(settled) = self.conns[serial].settled.filter(|settled| *settled < place) else { return false };
        let since = settled + 1..=self.log.end();
        // What a frame takes at the most, beside the padding.
        let bytes: usize = since.clone().map(|place| self.log.record(place).least_bytes + 700).sum();
        since.count() < self.setup.outbox_frames && bytes < self.setup.outbox_bytes
    }

    /// Whether a connection has received all there is for it, now that everything has happened.
    pub(crate) fn check_settled(&mut self, serial: usize) -> Result<(), String> {
        self.check_gap(serial, self.log.end())?;
        self.conns[serial].settled = Some(self.log.end());
        Ok(())
    }

    fn place(&self, cursor: &str) -> Result<Place, String> {
        let cursor: Cursor = cursor.parse().map_err(|error| format!("{error}: {cursor:?}"))?;
        if cursor.epoch() != self.epoch {
            return Err("a place of another epoch".to_owned());
        }
        Ok(cursor.position().get())
    }

    /// The number of an event, and where it is in the log.
    fn logged(&self, data: &Value) -> Result<(u64, Place), String> {
        let number = number(data)?;
        match self.sent.get(number as usize) {
            Some(Sent::Logged { epoch, place, pad }) if *epoch == self.epoch => {
                check_pad(data, *pad)?;
                Ok((number, *place))
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
