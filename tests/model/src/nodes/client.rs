//! A client: what it has received, and whether that is right.

use std::time::Duration;

use realtime_core::spi::{Epoch, Registration};
use serde_json::Value;
use tokio::time::Instant;

use crate::nodes::node::{FrameContent, Given, NodeCodec};
use crate::nodes::schedule::Who;
use crate::nodes::truth::{Content, Place, Truth};

/// A client, over all its connections.
pub(crate) struct Client {
    pub(crate) who: Who,
    /// Every cursor that it was given, the newest last.
    pub(crate) cursors: Vec<Given>,
    pub(crate) conn: Option<Conn>,
}

/// A connection.
pub(crate) struct Conn {
    /// The number of the process.
    pub(crate) node: usize,
    pub(crate) registration: Registration<NodeCodec>,
    /// The number of the connection among all connections.
    pub(crate) number: usize,
    /// The cursor that was presented.
    presented: Option<Given>,
    /// The epoch of the welcome.
    pub(crate) epoch: Option<Epoch>,
    /// The last record up to which everything was received.
    pub(crate) place: Place,
    /// The answers that are due.
    pub(crate) answers: Vec<(Instant, u64, u64)>,
}

/// The known state of the node at the moment of a welcome.
pub(crate) struct Moment {
    /// The last applied position, and the last record that the node's tail has returned.
    pub(crate) applied: u64,
    pub(crate) last: Place,
    pub(crate) window_records: u64,
    pub(crate) age: Duration,
    /// `true` if the node gets every record within a moment.
    pub(crate) is_calm: bool,
}

/// The kind of a frame.
pub(crate) enum Seen {
    Ask { number: u64, ack: u64 },
    Cursor,
    Event,
    Other,
    Welcome(String),
}

impl Conn {
    pub(crate) fn new(
        node: usize,
        registration: Registration<NodeCodec>,
        number: usize,
        presented: Option<Given>,
    ) -> Self {
        Self { node, registration, number, presented, epoch: None, place: None, answers: Vec::new() }
    }
}

impl Client {
    /// Checks a frame of the connection.
    pub(crate) fn see(&mut self, frame: &FrameContent, truth: &Truth, moment: &Moment) -> Result<Seen, String> {
        let Some(conn) = &mut self.conn else { return Err("a frame without a connection".to_owned()) };
        let seen = match frame.name.as_str() {
            "connected" => Seen::Welcome(conn.see_welcome(frame, truth, self.who, moment)?),
            "reconnect" => Seen::Other,
            "ask" => conn.see_ask(frame, truth, self.who)?,
            "cursor" => conn.advance(frame, truth, self.who, None).map(|()| Seen::Cursor)?,
            "n" => conn.advance(frame, truth, self.who, Some(number_of(frame)?)).map(|()| Seen::Event)?,
            other => return Err(format!("an unexpected frame: {other}")),
        };
        self.cursors.extend(frame.cursor.clone());
        Ok(seen)
    }
}

fn number_of(frame: &FrameContent) -> Result<u64, String> {
    let payload: Value = serde_json::from_slice(&frame.payload).map_err(|error| error.to_string())?;
    payload["n"].as_u64().ok_or_else(|| format!("no number: {payload}"))
}

impl Conn {
    /// Checks an event or a bare cursor: no record for this client is left out before it.
    fn advance(&mut self, frame: &FrameContent, truth: &Truth, who: Who, event: Option<u64>) -> Result<(), String> {
        let cursor = frame.cursor.as_ref().ok_or("no cursor")?;
        if Some(cursor.epoch) != self.epoch {
            return Err(format!("a cursor of another epoch than the welcome's: {cursor:?}"));
        }
        let place = truth.find(cursor.position, cursor.mark).ok_or_else(|| format!("of no record: {cursor:?}"))?;
        let path = truth
            .path(self.place, place)
            .ok_or_else(|| format!("position {} is not after {:?} in one log", cursor.position, self.place))?;
        let mut before = path.as_slice();
        if let Some(event) = event {
            let (last, rest) = path.split_first().ok_or_else(|| format!("event {event} again"))?;
            before = rest;
            match truth.records[*last].content {
                Content::Event { number, .. } if number == event => {}
                ref other => return Err(format!("event {event} at the position of {other:?}")),
            }
            if !truth.is_for(who, *last) {
                return Err(format!("event {event} is not for {who:?}: {:?}", truth.records[*last]));
            }
        }
        self.check_skipped(before, truth, who)?;
        self.place = place;
        Ok(())
    }

    /// Checks that none of these records is an event for this client.
    fn check_skipped(&self, path: &[usize], truth: &Truth, who: Who) -> Result<(), String> {
        let is_missed = |number: &&usize| {
            matches!(truth.records[**number].content, Content::Event { .. }) && truth.is_for(who, **number)
        };
        match path.iter().find(is_missed) {
            Some(number) => Err(format!("{who:?} has not received {:?}", truth.records[*number])),
            None => Ok(()),
        }
    }

    /// Checks that everything up to a record was received.
    pub(crate) fn check_complete(&self, tip: Place, truth: &Truth, who: Who) -> Result<(), String> {
        let path = truth.path(self.place, tip).ok_or("a connection is at a place that the log does not have")?;
        self.check_skipped(&path, truth, who)
    }

    fn see_ask(&self, frame: &FrameContent, truth: &Truth, who: Who) -> Result<Seen, String> {
        let (number, ack) = (number_of(frame)?, frame.ack.ok_or("an ask without a number")?);
        let records = truth.by_number.get(&number).ok_or("an ask without a record")?;
        let record = records.iter().find(|record| truth.records[**record].position == ack);
        let record = *record.ok_or_else(|| format!("ask {number} with the number {ack}"))?;
        if !truth.is_for(who, record) {
            return Err(format!("ask {number} is not for {who:?}"));
        }
        Ok(Seen::Ask { number, ack })
    }

    fn see_welcome(
        &mut self,
        frame: &FrameContent,
        truth: &Truth,
        who: Who,
        moment: &Moment,
    ) -> Result<String, String> {
        let payload: Value = serde_json::from_slice(&frame.payload).map_err(|error| error.to_string())?;
        let reason = payload["reason"].as_str().unwrap_or_default();
        let cursor = frame.cursor.as_ref().ok_or("a welcome without a cursor")?;
        if self.epoch.replace(cursor.epoch).is_some() {
            return Err("two welcomes".to_owned());
        }
        self.place = truth.find(cursor.position, cursor.mark).ok_or_else(|| format!("of no record: {cursor:?}"))?;
        let Some(presented) = self.presented.take() else {
            return if reason == "new" { Ok(reason.to_owned()) } else { Err(format!("{reason} without a cursor")) };
        };
        let known = truth.find(presented.position, presented.mark).ok_or("a presented cursor of no record")?;
        let is_same_epoch = presented.epoch == cursor.epoch;
        match reason {
            "resumed" if !is_same_epoch || self.place != known => {
                return Err(format!("resumed at {cursor:?} from {presented:?}, which is another record"));
            }
            "resumed" if moment.ended(truth, who) > presented.position => {
                return Err(format!("resumed at {cursor:?}, before the end of the rooms of {who:?} by absence"));
            }
            "resumed" => {}
            "epoch" => {
                let has_it = is_same_epoch && truth.path(known, self.place).is_some();
                let is_ahead = is_same_epoch && truth.path(self.place, known).is_some() && moment.is_calm;
                if has_it || is_ahead {
                    return Err(format!("epoch at {cursor:?} for {presented:?}, which the log has"));
                }
                let lost = if is_same_epoch { "connected: epoch, for its record is gone" } else { "connected: epoch" };
                return Ok(lost.to_owned());
            }
            "expired" if is_same_epoch && !moment.may_expire(truth, who, known) => {
                return Err(format!("expired at {cursor:?} for {presented:?}, which the window has"));
            }
            "expired" => {}
            other => return Err(format!("the reason {other} for {presented:?}")),
        }
        Ok(format!("connected: {reason}"))
    }
}

impl Moment {
    /// Returns the record at a position, as far as the node's tail has returned it.
    fn at(&self, position: u64, truth: &Truth) -> Place {
        let mut at = self.last;
        while let Some(number) = at.filter(|number| truth.records[*number].position > position) {
            at = truth.records[number].before;
        }
        at.filter(|number| truth.records[*number].position == position)
    }

    fn ended(&self, truth: &Truth, who: Who) -> u64 {
        self.at(self.applied, truth).map_or(0, |place| truth.records[place].rooms.ended(who))
    }

    /// Returns whether a record may have left the window, or its user's rooms have ended since.
    fn may_expire(&self, truth: &Truth, who: Who, known: Place) -> bool {
        let position = truth.position(known);
        let is_full = position + self.window_records < self.applied;
        // The record after it: the window begins after the newest one that is too old.
        let since = self.at(position + 1, truth).map(|next| truth.records[next].at);
        let is_old = since.is_some_and(|since| since.elapsed() + Duration::from_secs(2) > self.age);
        is_full || is_old || self.ended(truth, who) > position
    }
}
