use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::values::position::Position;

/// The most marks that are kept; of more, every other one is dropped, and never the oldest.
const MOST: usize = 1_024;

/// When this node had applied which position, as marks in time: by this node's clock alone.
#[derive(Debug, Default)]
pub(crate) struct Seen(VecDeque<(Position, Instant)>);

impl Seen {
    /// Notes the last applied position.
    pub(crate) fn note(&mut self, applied: Position, now: Instant) {
        if self.0.back().is_some_and(|(last, _)| *last >= applied) {
            return;
        }
        if self.0.len() == MOST {
            let mut at = 0;
            self.0.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.0.push_back((applied, now));
    }

    /// Returns the last position that was applied at least this long ago.
    pub(crate) fn before(&self, age: Duration, now: Instant) -> Position {
        let old = self.0.partition_point(|(_, at)| now.saturating_duration_since(*at) >= age);
        old.checked_sub(1).map_or(Position::START, |at| self.0[at].0)
    }

    /// Returns how long ago the record after this position was applied, at least; zero if none was.
    pub(crate) fn age_after(&self, position: Position, now: Instant) -> Duration {
        let known = self.0.partition_point(|(applied, _)| *applied <= position);
        self.0.get(known).map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at))
    }

    /// Forgets the marks up to a position, except the last one.
    pub(crate) fn trim(&mut self, decided: Position) {
        let known = self.0.partition_point(|(applied, _)| *applied <= decided);
        self.0.drain(..known.saturating_sub(1));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_those_of_the_marks() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let second = |n: u64| start + Duration::from_secs(n);
        for n in 1..=20 {
            seen.note(Position::new(n * 10), second(n));
        }
        seen.note(Position::new(200), second(99));
        let now = second(20);
        let before = |age| seen.before(Duration::from_secs(age), now).get();
        assert_eq!((before(0), before(12), before(30)), (200, 80, 0));
        assert_eq!(seen.age_after(Position::new(80), now), Duration::from_secs(11));
        assert_eq!(seen.age_after(Position::new(200), now), Duration::ZERO);
        seen.trim(Position::new(85));
        assert_eq!((seen.0.len(), seen.before(Duration::from_secs(12), now).get()), (13, 80));
        for n in 100..10_000 {
            seen.note(Position::new(n * 10), second(n));
        }
        assert!(seen.0.len() <= MOST && seen.before(Duration::from_secs(5_000), second(9_999)) > Position::START);
    }
}
