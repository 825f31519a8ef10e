//! The rooms that the server joined users to, and the absence of these users.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::membership::Memberships;
use crate::values::position::Position;

/// The rooms joined by the bare name, or with one tenant, and the absence of the users for whom
/// they hold.
#[derive(Default)]
pub(super) struct JoinedRooms {
    pub(super) rooms: Memberships,
    /// The last position at which the server removed these users from a room, for as long as the
    /// window reaches back: a connection that names the room again gets nothing from before it.
    pub(super) left: HashMap<Arc<str>, Position>,
    /// The time since which no connection has been registered for which these rooms hold.
    offline_since: Option<Instant>,
    /// `true` if this node saw the last connection leave, or made the join if there never was one:
    /// it announces the absence first.
    ours: bool,
    /// `true` once this node has asked whether another one has a connection.
    asked: bool,
    /// The last such question of any node that has no answer: its position, and when it was applied
    /// here.
    checked: Option<(Position, Instant)>,
    /// The last answer: a record up to which an absence is no reason to end rooms.
    confirmed: Option<Position>,
    /// The time when a record about the absence was last appended, if it has not been applied yet.
    announced_at: Option<Instant>,
    /// The last record that ended rooms by absence: earlier cursors of these users are expired.
    pub(super) ended: Option<Position>,
}

/// The time after which a node that did not see the last connection leave announces a user's
/// absence, in multiples of the usual one: the node that saw it may be gone.
const PATIENCE: u32 = 3;
/// The time after which an absence is announced again, if its record has not been applied.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(10);

/// The state of an absence that is long enough to end rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// No question whether another node has a connection.
    Unchecked,
    /// No answer in time to the question at this position.
    Unanswered(Position),
}

/// The times after which an absence counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbsenceTimes {
    /// The time without a connection.
    pub(crate) age: Duration,
    /// The time without an answer of another node.
    pub(crate) answer: Duration,
}

impl JoinedRooms {
    /// Joins a room. `absent` is set if no connection is registered for which the join holds, to
    /// whether this node made it.
    pub(super) fn join(&mut self, room: &Arc<str>, at: Position, absent: Option<bool>, now: Instant) {
        if let Some(ours) = absent {
            if self.rooms.current().next().is_none() {
                // No earlier room is left that could end by absence: the absence begins now.
                self.offline_since = Some(now);
                self.announced_at = None;
            }
            self.ours |= ours;
        }
        self.rooms.enter(room, at);
    }

    /// Ends the absence; returns whether there is a question to answer.
    pub(super) fn set_online(&mut self) -> bool {
        self.offline_since = None;
        self.ours = false;
        self.asked = false;
        self.announced_at = None;
        self.checked.take().is_some()
    }

    pub(super) fn set_offline(&mut self, now: Instant) {
        self.offline_since = Some(now);
        self.ours = true;
    }

    /// Returns the state of an absence for which a record is due: no connection for which the rooms
    /// hold has been registered for long enough.
    pub(super) fn absence(&self, times: AbsenceTimes, now: Instant) -> Option<Absence> {
        let age = if self.ours { times.age } else { times.age.saturating_mul(PATIENCE) };
        let is_due = self.rooms.current().next().is_some()
            && self.offline_since.is_some_and(|since| now.saturating_duration_since(since) > age)
            && self.announced_at.is_none_or(|at| now.saturating_duration_since(at) > ANNOUNCE_AGAIN);
        match self.checked.filter(|_| self.asked) {
            _ if !is_due => None,
            None => Some(Absence::Unchecked),
            Some((position, at)) => {
                (now.saturating_duration_since(at) >= times.answer).then_some(Absence::Unanswered(position))
            }
        }
    }

    /// Notes that a record about the absence is being appended.
    pub(super) fn announce(&mut self, now: Instant) {
        self.asked = true;
        self.announced_at = Some(now);
    }

    /// Restarts the absence: the user is connected to another node, which will see the last
    /// connection leave.
    pub(super) fn postpone(&mut self, now: Instant) {
        self.restart_absence(now);
        self.ours = false;
    }

    pub(super) fn check(&mut self, position: Position, now: Instant) {
        self.checked = Some((position, now));
        self.announced_at = None;
    }

    pub(super) fn confirm(&mut self, position: Position, age: Duration, now: Instant) {
        self.confirmed = Some(position);
        if !self.left_within(age, now) {
            self.postpone(now);
        }
    }

    /// Returns whether this node saw the last connection leave, or made the join, less than `age`
    /// ago.
    pub(super) fn left_within(&self, age: Duration, now: Instant) -> bool {
        self.ours && self.offline_since.is_some_and(|since| now.saturating_duration_since(since) <= age)
    }

    pub(super) fn restart_absence(&mut self, now: Instant) {
        self.offline_since = self.offline_since.map(|_| now);
        self.asked = false;
        self.checked = None;
        self.announced_at = None;
    }

    pub(super) fn end(&mut self, seen: Position, at: Position, now: Instant) -> Vec<Arc<str>> {
        if self.confirmed.is_some_and(|confirmed| confirmed > seen) {
            return Vec::new();
        }
        let rooms = self.rooms.leave_entered_by(seen, at);
        if !rooms.is_empty() {
            self.ended = Some(at);
            self.asked = false;
            self.checked = None;
            self.announced_at = None;
            // A room that was joined meanwhile ends after its own time.
            self.offline_since = self.offline_since.map(|_| now);
        }
        rooms
    }

    pub(super) fn leave(&mut self, room: &Arc<str>, at: Position) {
        self.rooms.leave(room, at);
        self.left.insert(Arc::clone(room), at);
    }

    pub(super) fn forget_before(&mut self, start: Position) {
        self.rooms.forget_before(start);
        self.left.retain(|_, left| *left > start);
        self.ended = self.ended.filter(|ended| *ended > start);
        if self.rooms.is_empty() {
            self.confirmed = None;
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.rooms = Memberships::default();
        self.left = HashMap::new();
        self.ended = None;
        self.confirmed = None;
        self.checked = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.left.is_empty() && self.ended.is_none()
    }
}

#[cfg(test)]
mod tests;
