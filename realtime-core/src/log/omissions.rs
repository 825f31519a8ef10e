use std::collections::VecDeque;

use crate::values::position::Position;

/// The most losses of one connection that are kept, and the most superseded events.
const MOST_LOST: usize = 8;
pub(crate) const MOST_SUPERSEDED: usize = 32;

/// The omissions of a connection: what it did not get of what it read from the window. Most
/// have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Omissions {
    /// The ranges that were gone: after the first position, up to the second.
    lost: VecDeque<(Position, Position)>,
    /// The record that was skipped last because connections were lost within it.
    passed_over: VecDeque<Position>,
    superseded: VecDeque<Position>,
    /// The position up to which some may not be kept.
    forgotten: Position,
}

/// The outcome of one record for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Omission {
    /// Not known any more.
    Forgotten,
    Lost(Position, Position),
    PassedOver,
    Superseded,
}

impl Omissions {
    /// Notes that what lies after the first position, up to the second, was gone.
    pub(crate) fn lose(&mut self, from: Position, until: Position) {
        let forgotten = keep(&mut self.lost, (from, until), MOST_LOST).map(|(_, until)| until);
        self.forget(forgotten);
    }

    /// Notes that a record was skipped because connections were lost within it.
    pub(crate) fn pass_over(&mut self, position: Position) {
        let forgotten = keep(&mut self.passed_over, position, MOST_LOST);
        self.forget(forgotten);
    }

    /// Notes that newer events of their series were taken instead of these.
    pub(crate) fn supersede(&mut self, positions: &[Position]) {
        for position in positions {
            let forgotten = keep(&mut self.superseded, *position, MOST_SUPERSEDED);
            self.forget(forgotten);
        }
    }

    /// Returns what happened to the record at this position; `None` if it was not left out.
    pub(crate) fn at(&self, position: Position) -> Option<Omission> {
        if let Some((from, until)) = self.lost.iter().find(|(from, until)| *from < position && position <= *until) {
            return Some(Omission::Lost(*from, *until));
        }
        if self.passed_over.contains(&position) {
            return Some(Omission::PassedOver);
        }
        if self.superseded.contains(&position) {
            return Some(Omission::Superseded);
        }
        (position <= self.forgotten).then_some(Omission::Forgotten)
    }

    /// Returns the losses that are kept.
    pub(crate) fn lost(&self) -> Vec<(Position, Position)> {
        self.lost.iter().copied().collect()
    }

    fn forget(&mut self, forgotten: Option<Position>) {
        self.forgotten = self.forgotten.max(forgotten.unwrap_or_default());
    }
}

/// Adds a value to those that are kept; returns the one that is forgotten for it.
fn keep<T>(kept: &mut VecDeque<T>, value: T, most: usize) -> Option<T> {
    kept.push_back(value);
    if kept.len() > most { kept.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(number: u64) -> Position {
        Position::new(number)
    }

    #[test]
    fn omissions_are_known_until_they_are_too_many() {
        let mut omissions = Omissions::default();
        omissions.lose(at(10), at(20));
        omissions.pass_over(at(25));
        omissions.supersede(&[at(30), at(32)]);
        let known = [10, 11, 20, 21, 25, 30, 31, 32].map(|number| omissions.at(at(number)));
        let lost = Some(Omission::Lost(at(10), at(20)));
        let (passed_over, superseded) = (Some(Omission::PassedOver), Some(Omission::Superseded));
        assert_eq!(known, [None, lost, lost, None, passed_over, superseded, None, superseded]);
        omissions.supersede(&(40..40 + MOST_SUPERSEDED as u64).map(at).collect::<Vec<_>>());
        assert_eq!(omissions.at(at(30)), Some(Omission::Forgotten));
        assert_eq!(omissions.at(at(31)), Some(Omission::Forgotten), "perhaps");
        assert_eq!(omissions.at(at(20)), lost, "kept");
        assert_eq!(omissions.at(at(33)), None);
        assert_eq!(omissions.superseded.len(), MOST_SUPERSEDED);
    }
}
