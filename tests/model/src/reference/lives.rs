//! The lives of the log: what the process knows of each, what it has not noticed yet, and the
//! connections of each.

use realtime_core::spi::Epoch;
use tokio::time::Instant;

use crate::conn::{Conn, Moment};
use crate::log::{Audience, Change, Log, Position, Record, RecordKind};
use crate::log_spy::Absence;
use crate::reference::{Reference, Sent};
use crate::schedule::By;

/// One life of the log, as one process has known it.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) epoch: Epoch,
    pub(crate) log: Log,
    /// The position after which the process began to read.
    pub(crate) begun: Position,
}

/// The content of a log whose loss the process has not noticed yet.
#[derive(Debug)]
pub(crate) struct HiddenLog {
    log: Log,
    /// `true` if its epoch is another one.
    wiped: bool,
    /// `true` if it has grown beyond what the process has applied.
    filled: bool,
    since: Instant,
}

impl Reference {
    /// Returns the number of the current life.
    pub(crate) fn life(&self) -> usize {
        self.lives.len() - 1
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lives[self.life()].epoch
    }

    /// Returns the current log.
    pub(crate) fn log(&self) -> &Log {
        &self.lives[self.life()].log
    }

    pub(crate) fn log_mut(&mut self) -> &mut Log {
        let life = self.life();
        &mut self.lives[life].log
    }

    /// Returns the log that a connection reads.
    pub(crate) fn log_of(&self, conn: &Conn) -> &Log {
        &self.lives[conn.life.unwrap_or(self.life())].log
    }

    /// Returns the life of this process that has this epoch.
    pub(crate) fn life_of(&self, epoch: Epoch) -> Option<usize> {
        let lives = self.lives.iter().enumerate().skip(self.first_life);
        lives.rev().find(|(_, life)| life.epoch == epoch).map(|(number, _)| number)
    }

    /// Returns the moments of this life between which a connection was registered.
    pub(crate) fn registered(&self, conn: &Conn, life: usize, now: Moment) -> (Moment, Moment) {
        let Life { log, begun, .. } = &self.lives[life];
        let at = |position| Moment { life, end: position, start: position };
        let known = |moment: Moment| (moment.life == life).then_some(moment);
        let latest = known(conn.registered.unwrap_or(now)).unwrap_or(at(log.end()));
        (known(conn.requested).unwrap_or(at(*begun)), latest)
    }

    /// Returns the state of the server at the latest when it last wrote to a connection.
    pub(crate) fn moment_of(&self, conn: &Conn, now: Moment) -> Moment {
        let life = conn.life.unwrap_or(now.life);
        let end = self.lives[life].log.end();
        if life == now.life { now } else { Moment { life, end, start: end } }
    }

    /// Loses all records of the log after a position, or all of them and the epoch; then another
    /// node writes `others` events. Returns their numbers.
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
        // Keys that newer ones have driven out are not remembered again when these are gone.
        let forgotten = self.keys.len().saturating_sub(self.setup.window_keys);
        self.keys.drain(..forgotten);
        self.keys.retain(|known| known.position <= kept.unwrap_or_default());
        self.hidden = Some(HiddenLog { filled: log.end() >= end, log, wiped, since });
        numbers
    }

    /// Returns the end of the log, whether the process knows it or not.
    pub(crate) fn hidden_end(&self) -> Position {
        self.hidden.as_ref().map_or(self.log().end(), |hidden| hidden.log.end())
    }

    /// Returns the time since which the process uses a life whose records are gone.
    pub(crate) fn lost_since(&self) -> Option<Instant> {
        self.hidden.as_ref().map(|hidden| hidden.since)
    }

    /// Begins a new life of the log, which the process reads after this position.
    pub(crate) fn begin_life(&mut self, epoch: Epoch, from: Position, at: Instant) -> Result<(), String> {
        let Some(hidden) = self.hidden.take() else {
            return Err("the log has begun a new life, and had lost nothing".to_owned());
        };
        if self.lives.iter().any(|life| life.epoch == epoch) {
            return Err("a new life with an earlier epoch".to_owned());
        }
        self.cover(match hidden {
            HiddenLog { wiped: true, .. } => "log wiped",
            HiddenLog { filled: true, .. } => "log rolled back and filled again",
            _ => "log rolled back",
        });
        // They are of the previous life.
        self.keys.clear();
        self.take_up(epoch, hidden.log, from, at, false);
        let first = self.first;
        self.conns[first..].iter_mut().for_each(|conn| conn.outdated = true);
        Ok(())
    }

    /// Starts another process, which knows nothing of the previous one and has read the log after
    /// this position.
    pub(crate) fn restart(&mut self, epoch: Epoch, from: Position) {
        self.process += 1;
        self.first = self.conns.len();
        let hidden = self.hidden.take();
        self.cover(match &hidden {
            None => "restart with the same log",
            Some(HiddenLog { wiped: true, .. }) => "restart with another log",
            Some(_) => "restart with a log that was rolled back",
        });
        // What the old process has read of a life that continues is still a client's own.
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
        log.take_up(from, self.log().users.restarted(alone, now), self.process, now);
        self.lives.push(Life { epoch, log, begun: from });
    }

    /// Observes that the server has ended an absent user's rooms, which has taken the log's next
    /// position.
    pub(crate) fn end_absent(&mut self, absence: &Absence) -> Result<(), String> {
        if absence.position <= self.log().end() {
            // Read again by a process that has begun to read a log.
            let known = self.log().record(absence.position).change;
            let is_same = matches!(known, Some(Change::Absent(known)) if known.member == absence.member);
            return if is_same { Ok(()) } else { Err(format!("not what was at its position: {absence:?}")) };
        }
        if absence.position != self.log().end() + 1 {
            return Err(format!("not at the log's next position, after {}: {absence:?}", self.log().end()));
        }
        let first = self.first;
        for conn in self.conns[first..].iter_mut().filter(|conn| absence.member.matches(conn.viewer.identity)) {
            if conn.is_registered() && conn.registered_at.is_some_and(|at| at < absence.at) {
                return Err(format!("c{} is connected: {absence:?}", conn.client));
            }
            // A connection of the same moment is closed.
            conn.undisturbed &= conn.unregistered_at.is_some();
        }
        let age = self.age();
        self.log_mut().users.check_end(absence, age)?;
        let record = Record { at: absence.at, ..self.record_of(Change::Absent(*absence)) };
        self.log_mut().push(record);
        self.log_mut().users.end(absence);
        self.cover("membership ended by absence");
        self.cover_if(absence.member.tenant.is_some(), "membership within a tenant ended by absence");
        Ok(())
    }

    /// Observes that the server has written the end of an absent user's rooms into a log that is
    /// another one by now.
    pub(crate) fn written(&mut self, absence: &Absence) -> Result<(), String> {
        let age = self.age();
        self.log_mut().users.check_end(absence, age)?;
        let record = self.record_of(Change::Absent(*absence));
        let hidden = self.hidden.as_mut().ok_or("nothing is lost")?;
        is_at(absence, hidden.log.push(record))
    }

    /// Observes that the server has written the end of an absent user's rooms, and shut down before
    /// it had applied it.
    pub(crate) fn unapplied(&mut self, absence: &Absence) -> Result<(), String> {
        let record = self.record_of(Change::Absent(*absence));
        is_at(absence, self.log_mut().push(record))
    }

    /// Creates a plain record.
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

fn is_at(absence: &Absence, position: Position) -> Result<(), String> {
    let wrong = || format!("not at the log's next position, which is {position}: {absence:?}");
    if position == absence.position { Ok(()) } else { Err(wrong()) }
}
