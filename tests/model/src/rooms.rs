//! The members of rooms over time, as intervals of positions.

use std::collections::BTreeMap;

use crate::log::Position;
use crate::schedule::Id;

/// An answer to the question whether a viewer sees a record. Two actions that raced leave `Maybe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Visibility {
    No,
    Maybe,
    Yes,
}

/// A stay in a room: for records after one position, up to and including another. Each is known to
/// lie between two.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: (Position, Position),
    until: (Position, Position),
}

const OPEN: (Position, Position) = (Position::MAX, Position::MAX);

/// The stays in each room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(BTreeMap<Id, Vec<Span>>);

impl Visibility {
    pub(crate) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

impl Rooms {
    /// Enters a room at a position between these two; has no effect for a current member.
    pub(crate) fn enter(&mut self, room: Id, earliest: Position, latest: Position) {
        if !self.is_in(room) {
            self.0.entry(room).or_default().push(Span { after: (earliest, latest), until: OPEN });
        }
    }

    /// Narrows the first entry to a position between these.
    pub(crate) fn entered_between(&mut self, room: Id, earliest: Position, latest: Position) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.first_mut()) {
            span.after = (earliest, latest);
        }
    }

    /// Narrows the last entry to one by this position.
    pub(crate) fn entered_by(&mut self, room: Id, latest: Position) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.last_mut()) {
            span.after.1 = span.after.1.min(latest);
        }
    }

    /// Leaves a room at a position between these two.
    pub(crate) fn leave(&mut self, room: Id, earliest: Position, latest: Position) {
        for span in self.0.get_mut(&room).into_iter().flatten().filter(|span| span.until == OPEN) {
            span.until = (earliest, latest);
        }
    }

    /// Narrows the last leave to one by this position.
    pub(crate) fn left_by(&mut self, room: Id, latest: Position) {
        if let Some(span) = self.0.get_mut(&room).and_then(|spans| spans.last_mut())
            && span.until != OPEN
        {
            span.until.1 = span.until.1.min(latest);
        }
    }

    pub(crate) fn is_in(&self, room: Id) -> bool {
        self.0.get(&room).is_some_and(|spans| spans.iter().any(|span| span.until == OPEN))
    }

    pub(crate) fn sees(&self, room: Id, position: Position) -> Visibility {
        let one = |span: &Span| {
            if position > span.after.1 && position <= span.until.0 {
                Visibility::Yes
            } else if position > span.after.0 && position <= span.until.1 {
                Visibility::Maybe
            } else {
                Visibility::No
            }
        };
        self.0.get(&room).and_then(|spans| spans.iter().map(one).max()).unwrap_or(Visibility::No)
    }

    /// Leaves all rooms that were entered up to a position, as of another one; returns whether
    /// there were any.
    pub(crate) fn leave_entered_by(&mut self, seen: Position, at: Position) -> bool {
        let ended = self.0.values_mut().flatten().filter(|span| span.until == OPEN && span.after.1 <= seen);
        ended.map(|span| span.until = (at, at)).count() > 0
    }

    pub(crate) fn is_in_any(&self) -> bool {
        self.0.keys().any(|room| self.is_in(*room))
    }
}
