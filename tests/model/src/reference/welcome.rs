//! The check of a welcome: the event `connected`, its cursor and its reason.

use realtime_core::spi::Cursor;
use serde_json::Value;

use crate::conn::Moment;
use crate::generate::{CLOSED_ROOM, FROM_NOW_ROOM};
use crate::reference::Reference;
use crate::reference::observe::Reaction;

impl Reference {
    pub(crate) fn observe_connected(
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
        let life = self.life_of(epoch).ok_or("a cursor of an unknown epoch")?;
        if conn.life.is_some_and(|known| known != life) {
            return Err("a cursor of another life than the one it was registered in".to_owned());
        }
        self.conns[serial].life = Some(life);
        self.conns[serial].outdated = life != self.life();
        let position = self.position(serial, cursor)?;
        let conn = &self.conns[serial];
        let (earliest, latest) = self.registered(conn, life, now);
        let presented = conn.presented.as_deref();
        if data["cursor"] != cursor || data["message"] != "connected" {
            return Err("the cursor in the welcome is another one".to_owned());
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
            return Err(format!("it continues after {position}: at {earliest:?} to {latest:?}"));
        }
        if conn.named.contains(&CLOSED_ROOM) {
            return Err("accepted in a closed room".to_owned());
        }
        let conn = &mut self.conns[serial];
        conn.connected = true;
        conn.resumed = resumed;
        conn.position = position;
        self.enter_named(serial, life, resumed, (earliest, latest));
        self.cover_connected(serial, covered, (earliest, latest));
        Ok(Reaction::Connected)
    }

    /// Enters the rooms that a connection has named, at a position after the last leave.
    fn enter_named(&mut self, serial: usize, life: usize, resumed: bool, (earliest, latest): (Moment, Moment)) {
        let conn = &self.conns[serial];
        let (position, identity, users) = (conn.position, conn.viewer.identity, &self.lives[life].log.users);
        let entered = |room| {
            if room == FROM_NOW_ROOM && resumed {
                return (room, earliest.end, latest.end);
            }
            let left = |by| users.left(identity, room, by).max(position);
            (room, left(earliest.end), left(latest.end))
        };
        let entered: Vec<_> = conn.named.iter().copied().map(entered).collect();
        let own = &mut self.conns[serial].viewer.own;
        entered.iter().for_each(|(room, from, to)| own.entered_between(*room, *from, *to));
    }

    /// Counts what the welcome of a connection has shown.
    fn cover_connected(&mut self, serial: usize, covered: &'static str, (earliest, latest): (Moment, Moment)) {
        let conn = &self.conns[serial];
        let (resumed, position) = (conn.resumed, conn.position);
        let (has_named, is_across) = (!conn.named.is_empty(), conn.requested.life != latest.life);
        let is_quiet = position > 0 && position == earliest.start && position == earliest.end;
        self.cover_if(has_named, "room named when connecting");
        self.cover_if(resumed && is_quiet, "resumed at the end of a quiet log");
        self.cover(covered);
        if let Some((from, to)) = self.crossing(serial).filter(|_| resumed) {
            self.coverage.add(from, "left for another transport, and resumed", 1);
            self.coverage.add(to, "resumed from another transport", 1);
        }
        self.cover_position(serial, covered, latest);
        self.cover_if(is_across, "connected while the log began a new life");
    }

    /// Returns what it means that a connection receives this reason, if that is right for one that
    /// was registered between these moments.
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
            return is_invalid.then_some("connected: invalid, forged in this epoch");
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
}
