//! The windows of several providers on one log: each has the records for its own provider, and the
//! positions of the others.

use realtime_core::Stats;

use crate::conn::Moment;
use crate::log::Position;
use crate::reference::Reference;
use realtime_wire::Transport;

/// The number of positions that a window keeps for each record of its bound, where most are other
/// providers'.
const POSITIONS: u64 = 8;
/// The most bytes that a frame and its record take in addition to the padding.
pub(crate) const MOST: u64 = 700;

/// The bounds of a provider's window, which begins at the latest of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The position after which the process began to read.
    begun: Position,
    /// The newest one of the provider's own records that has left the window.
    gone: Position,
    /// The position before those that are kept, whichever provider they are for.
    positions: Position,
    /// The position before the newest record, if that one alone has more bytes than the window may
    /// have, and is thus the only one.
    alone: Position,
}

impl Bounds {
    /// Returns the position before the oldest one of the window.
    pub(crate) fn start(self) -> Position {
        self.begun.max(self.gone).max(self.positions).max(self.alone)
    }
}

impl Reference {
    /// Returns what bounds the window of this transport's provider in the current life, which has
    /// applied everything up to `end`. Records leave one after the other until the bounds hold. A
    /// position of other providers' counts only against the bound of positions, so none of them is
    /// the last to leave for another bound, unless only the newest record is left, which stays
    /// whatever its size.
    pub(crate) fn bounds(&self, transport: Transport, stats: &Stats, end: Position) -> Bounds {
        let life = self.life();
        let begun = self.lives[life].begun;
        let end = end.min(self.log().end());
        let mut own = (begun + 1..=end).rev().filter(|position| self.is_own(life, transport, *position));
        let gone = own.nth(stats.window_records as usize).unwrap_or_default();
        let most = (self.setup.window_records as u64).saturating_mul(POSITIONS);
        let is_alone = stats.window_records == 1 && stats.window_bytes > self.setup.window_bytes as u64;
        let alone = if is_alone { end.saturating_sub(1) } else { 0 };
        Bounds { begun, gone, positions: end.saturating_sub(most), alone }
    }

    /// Returns whether a record is for the provider of this transport.
    fn is_own(&self, life: usize, transport: Transport, position: Position) -> bool {
        self.lives[life].log.record(position).audience.providers.serve(transport)
    }

    /// Returns whether a window begins after another provider's record because of its positions, as
    /// it does with more than one record.
    fn is_by_positions(&self, transport: Transport, at: Moment) -> bool {
        let begun = self.lives[at.life].begun;
        at.start > begun && at.start + 1 < at.end && !self.is_own(at.life, transport, at.start)
    }

    /// Checks that a provider's window has what its bounds say, where others use the log; only when
    /// nothing is under way.
    pub(crate) fn check_shared_window(&mut self, transport: Transport, stats: &Stats) -> Result<(), String> {
        let (life, end) = (self.life(), self.log().end());
        let (records, bytes) = (self.setup.window_records as u64, self.setup.window_bytes as u64);
        let bounds = self.bounds(transport, stats, end);
        let start = bounds.start();
        let own = (start + 1..=end).filter(|position| self.is_own(life, transport, *position)).count() as u64;
        if stats.window_records != own {
            return Err(format!("the window of {transport} has {} records of its {own}", stats.window_records));
        }
        if own > records || own > 1 && stats.window_bytes > bytes {
            return Err(format!("the window of {transport} is too large: {own} records, {} bytes", stats.window_bytes));
        }
        if start == bounds.begun {
            return Ok(());
        }
        let exceeded = if start == bounds.positions {
            "window exceeded by other providers' positions"
        } else if own == records {
            "window exceeded by one provider's count"
        } else if start == bounds.alone {
            "window exceeded by one record's bytes"
        } else {
            // Only the bytes can have been too many.
            let gone = self.log().record(start).least_bytes as u64;
            if stats.window_bytes + gone + MOST <= bytes {
                return Err(format!("the window of {transport} begins at {start}, and could begin before: {bounds:?}"));
            }
            "window exceeded by one provider's bytes"
        };
        self.cover_over(transport, true, exceeded);
        Ok(())
    }

    /// Counts what a connection's welcome at this moment has shown of windows that differ.
    pub(crate) fn cover_position(&mut self, serial: usize, covered: &'static str, at: Moment) {
        let Some((_, to)) = self.crossing(serial).filter(|_| self.setup.mixed) else { return };
        let (position, begun) = (self.conns[serial].position, self.lives[at.life].begun);
        let is_others = |position: Position| position > begun && !self.is_own(at.life, to, position);
        let (by_positions, at_others) = (self.is_by_positions(to, at), is_others(position));
        let dropped = at.start > begun;
        let resumed = self.conns[serial].resumed;
        let expired = covered == "connected: expired";
        self.cover_over(to, expired, "expired over another transport");
        self.cover_over(to, expired && by_positions, "expired over another transport, by positions");
        let trimmed = resumed && dropped;
        self.cover_over(to, trimmed, "resumed over another transport, in a trimmed window");
        self.cover_over(to, trimmed && at_others, "resumed over another transport, at a record not for it");
    }

    /// Counts what a connection has lost between two positions, at this moment.
    pub(crate) fn cover_lost(&mut self, serial: usize, (from, until): (Position, Position), at: Moment) {
        if !self.setup.mixed {
            return;
        }
        let (begun, transport) = (self.lives[at.life].begun, self.conns[serial].viewer.transport);
        let is_others = |position: Position| position > begun && !self.is_own(at.life, transport, position);
        let (is_between, by_positions) = ((from + 1..=until).any(is_others), self.is_by_positions(transport, at));
        self.cover_over(transport, is_between, "lost where other providers' records are between");
        self.cover_over(transport, by_positions, "lost by other providers' positions");
    }
}
