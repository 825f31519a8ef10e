//! The lives of the log: what the process knows of each, what is hidden it, and which connections belong to which.

use realtime_core::Epoch;
use tokio::time::Instant;

use crate::conn::{Conn, Moment};
use crate::log::{Audience, Change, Log, Position, Record, RecordKind};
use crate::log_spy::Absence;
use crate::reference::{Reference, Sent};
use crate::schedule::{By, Kind};

/// One life of the log, as one process has known it.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) epoch: Epoch,
    pub(crate) log: Log,
    /// Where the process began to read.
    pub(crate) begun: Position,
}

/// What the log holds hidden a process that has not noticed yet.
#[derive(Debug)]
pub(crate) struct HiddenLog {
    log: Log,
    /// With another epoch.
    wiped: bool,
    /// It has grown beyond what the process has applied.
    filled: bool,
    since: Instant,
}

impl Life {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, log: Log::default(), begun: 0 }
    }
}

impl Reference {
    /// The number of the life of now.
    pub(crate) fn life(&self) -> usize {
        self.lives.len() - 1
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lives[self.life()].epoch
    }

    /// The log of now.
    pub(crate) fn log(&self) -> &Log {
        &self.lives[self.life()].log
    }

    pub(crate) fn log_mut(&mut self) -> &mut Log {
        let life = self.life();
        &mut self.lives[life].log
    }

    /// The log that a connection reads.
    pub(crate) fn log_of(&self, conn: &Conn) -> &Log {
        &self.lives[conn.life.unwrap_or(self.life())].log
    }

    /// Which life of this process has this epoch.
    pub(crate) fn life_of(&self, epoch: Epoch) -> Option<usize> {
        let lives = self.lives.iter().enumerate().skip(self.first_life);
        lives.rev().find(|(_, life)| life.epoch == epoch).map(|(number, _)| number)
    }

    /// Between which moments of this life a connection was registered.
    pub(crate) fn registered(&self, conn: &Conn, life: usize, now: Moment) -> (Moment, Moment) {
        let Life { log, begun, .. } = &self.lives[life];
        let at = |position| Moment { life, end: position, start: position };
        let known = |moment: Moment| (moment.life == life).then_some(moment);
        let latest = known(conn.registered.unwrap_or(now)).unwrap_or(at(log.end()));
        (known(conn.requested).unwrap_or(at(*begun)), latest)
    }

    /// Where the server was at the latest when it last wrote to a connection.
    pub(crate) fn moment_of(&self, conn: &Conn, now: Moment) -> Moment {
        let life = conn.life.unwrap_or(now.life);
        let end = self.lives[life].log.end();
        if life == now.life { now } else { Moment { life, end, start: end } }
    }

    /// The log loses all records after a position, or all and with them its epoch; then another node writes so many. The numbers
    /// of their events.
    pub(crate) fn lose(&mut self, kept: Option<Position>, others: usize) -> Vec<u64> {
        let end = self.log().end();
        let last = self.hidden.take();
        let mut log = last.as_ref().map_or(self.log(), |last| &last.log).up_to(kept.unwrap_or_default());
        let numbers = (0..others).map(|_| {
            let number = self.sent.len() as u64;
            let audience = Audience::everybody();
            let record = Record { process: None, ..self.record(number, RecordKind::Event, audience) };
            let position = log.push(record);
            self.sent.push(Sent::Logged { position, pad: 0 });
            number
        });
        let numbers = numbers.collect();
        let wiped = kept.is_none() || last.as_ref().is_some_and(|last| last.wiped);
        let since = last.map_or(Instant::now(), |last| last.since);
        // Those that newer ones have driven out do not come back when these are gone.
        let forgotten = self.keys.len().saturating_sub(self.setup.window_keys);
        self.keys.drain(..forgotten);
        self.keys.retain(|known| known.position <= kept.unwrap_or_default());
        self.hidden = Some(HiddenLog { filled: log.end() >= end, log, wiped, since });
        numbers
    }

    /// Where the log ends hidden the process.
    pub(crate) fn hidden_end(&self) -> Position {
        self.hidden.as_ref().map_or(self.log().end(), |hidden| hidden.log.end())
    }

    /// Since when the process goes on with a life whose records are gone.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        self.hidden.as_ref().map(|hidden| hidden.since)
    }

    /// The process has taken up a new life of the log, from this position on.
    pub(crate) fn begin_life(&mut self, epoch: Epoch, from: Position, at: Instant) -> Result<(), String> {
        let Some(hidden) = self.hidden.take() else {
            return Err("the log has begun anew, and had lost nothing".to_owned());
        };
        if self.lives.iter().any(|life| life.epoch == epoch) {
            return Err("a new life with an epoch of before".to_owned());
        }
        self.cover(match hidden {
            HiddenLog { wiped: true, .. } => "log wiped",
            HiddenLog { filled: true, .. } => "log rolled back and filled again",
            _ => "log rolled back",
        });
        // They are of the life that is over.
        self.keys.clear();
        self.take_up(epoch, hidden.log, from, at, false);
        let first = self.first;
        self.conns[first..].iter_mut().for_each(|conn| conn.outdated = true);
        Ok(())
    }

    /// Another process, which knows nothing of the one before, has read what it found from this position on.
    pub(crate) fn restart(&mut self, epoch: Epoch, from: Position) {
        self.process += 1;
        self.first = self.conns.len();
        let hidden = self.hidden.take();
        self.cover(match &hidden {
            None => "restart with the same log",
            Some(HiddenLog { wiped: true, .. }) => "restart with another log",
            Some(_) => "restart with a log that was rolled back",
        });
        // What the old process has read of a life that goes on is still a client's own.
        let log = hidden.map_or_else(|| self.log().up_to(self.log().end()), |hidden| hidden.log);
        let Life { epoch: known, log: old, .. } = &self.lives[self.life()];
        let is_there = |position: Position| epoch == *known && old.mark(position) == log.mark(position);
        for positions in &mut self.delivered {
            positions.retain(|(of, position)| *of == epoch.get() && is_there(*position));
        }
        self.take_up(epoch, log, from, Instant::now(), true);
        self.first_life = self.life();
    }

    fn take_up(&mut self, epoch: Epoch, mut log: Log, from: Position, now: Instant, alone: bool) {
        log.take_up(from, self.log().users.anew(alone, now), self.process, now);
        self.lives.push(Life { epoch, log, begun: from });
    }

    /// The server has ended an absent user's rooms by itself, which has taken the log's next position.
    pub(crate) fn end_absent(&mut self, ended: &Absence) -> Result<(), String> {
        if ended.position <= self.log().end() {
            // Read again by a process that has taken up a log.
            let known = self.log().record(ended.position).change;
            let is_same = matches!(known, Some(Change::Absent(known)) if known.member == ended.member);
            return if is_same { Ok(()) } else { Err(format!("not what was at its position: {ended:?}")) };
        }
        if ended.position != self.log().end() + 1 {
            return Err(format!("not at the log's next position, after {}: {ended:?}", self.log().end()));
        }
        let first = self.first;
        for conn in self.conns[first..].iter_mut().filter(|conn| ended.member.matches(conn.viewer.identity)) {
            if conn.is_registered() && conn.registered_at.is_some_and(|at| at < ended.at) {
                return Err(format!("c{} is there: {ended:?}", conn.client));
            }
            // One that has come in the same moment is sent back.
            conn.undisturbed &= conn.unregistered_at.is_some();
        }
        let age = self.age();
        self.log_mut().users.check_end(ended, age)?;
        let record = Record { at: ended.at, ..self.record_of(Change::Absent(*ended)) };
        self.log_mut().push(record);
        self.log_mut().users.end(ended);
        self.cover("membership ended by absence");
        if ended.member.tenant.is_some() {
            self.cover("membership within a tenant ended by absence");
        }
        Ok(())
    }

    /// The server has written the end of an absent user's rooms into a log that it takes for another one.
    pub(crate) fn written(&mut self, ended: &Absence) -> Result<(), String> {
        let age = self.age();
        self.log_mut().users.check_end(ended, age)?;
        let record = self.record_of(Change::Absent(*ended));
        let hidden = self.hidden.as_mut().ok_or("nothing is lost")?;
        is_at(ended, hidden.log.push(record))
    }

    /// The server has written the end of an absent user's rooms, and went down before it had applied it.
    pub(crate) fn unread(&mut self, ended: &Absence) -> Result<(), String> {
        let record = self.record_of(Change::Absent(*ended));
        is_at(ended, self.log_mut().push(record))
    }

    /// A record with nothing special about it.
    pub(crate) fn record(&mut self, number: u64, kind: RecordKind, audience: Audience) -> Record {
        self.marks += 1;
        Record {
            mark: self.marks,
            process: Some(self.process),
            number,
            by: By::Provider,
            kind,
            change: None,
            audience,
            latest: None,
            id: None,
            at: Instant::now(),
            least_bytes: 0,
        }
    }

    pub(crate) fn record_of(&mut self, change: Change) -> Record {
        let audience = Audience::everybody();
        Record { change: Some(change), ..self.record(u64::MAX, RecordKind::Nothing, audience) }
    }
}

fn is_at(ended: &Absence, position: Position) -> Result<(), String> {
    if position == ended.position {
        Ok(())
    } else {
        Err(format!("not at the log's next position, which is {position}: {ended:?}"))
    }
}

impl Record {
    /// With what the kind of event asks for.
    pub(crate) fn of(self, kind: Kind, pad: usize, by: By) -> Self {
        let mut record = Self { least_bytes: pad, by, ..self };
        match kind {
            Kind::Latest(key) => record.latest = Some(key),
            Kind::Once(_) | Kind::Plain | Kind::Volatile => {}
        }
        record
    }
}
