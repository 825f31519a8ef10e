use std::collections::HashMap;
use std::sync::Arc;

use crate::values::position::Position;

/// The rooms of a user or of one connection, as intervals of positions, so that a reader who is
/// behind sees exactly what it would have seen live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memberships {
    rooms: HashMap<Arc<str>, Vec<Interval>>,
}

/// Member for every record after `after`, up to and with `until`.
#[derive(Clone, Copy, Debug)]
struct Interval {
    after: Position,
    until: Option<Position>,
}

impl Memberships {
    /// Enters a room as of this place; `false` if already in.
    pub(crate) fn enter(&mut self, room: &Arc<str>, at: Position) -> bool {
        if self.is_in(room) {
            return false;
        }
        self.rooms.entry(Arc::clone(room)).or_default().push(Interval { after: at, until: None });
        true
    }

    /// Leaves a room as of this place; `false` if not in.
    pub(crate) fn leave(&mut self, room: &str, at: Position) -> bool {
        let Some(intervals) = self.rooms.get_mut(room) else { return false };
        match intervals.last_mut() {
            Some(interval) if interval.until.is_some() => return false,
            Some(interval) if interval.after < at => interval.until = Some(at),
            // Who was in for no record at all leaves no trace: coming and going over and over must not fill the memory.
            _ => drop(intervals.pop()),
        }
        if intervals.is_empty() {
            self.rooms.remove(room);
        }
        true
    }

    /// Leaves, as of this place, the rooms that were entered up to another one, and answers them.
    pub(crate) fn leave_entered_by(&mut self, seen: Position, at: Position) -> Vec<Arc<str>> {
        let is_meant = |intervals: &[Interval]| {
            intervals.last().is_some_and(|interval| interval.until.is_none() && interval.after <= seen)
        };
        let rooms = self.rooms.iter().filter(|(_, intervals)| is_meant(intervals)).map(|(room, _)| Arc::clone(room));
        let rooms: Vec<Arc<str>> = rooms.collect();
        for room in &rooms {
            self.leave(room, at);
        }
        rooms
    }

    /// How many stays in rooms are kept, past ones included.
    pub(crate) fn len(&self) -> usize {
        self.rooms.values().map(Vec::len).sum()
    }

    /// Whether a member now.
    pub(crate) fn is_in(&self, room: &str) -> bool {
        self.rooms.get(room).and_then(|intervals| intervals.last()).is_some_and(|interval| interval.until.is_none())
    }

    /// Whether a member when this record was logged.
    pub(crate) fn was_in(&self, room: &str, position: Position) -> bool {
        self.rooms.get(room).is_some_and(|intervals| {
            // They follow one another: the last one that began before it.
            let begun = intervals.partition_point(|interval| interval.after < position);
            begun > 0 && intervals[begun - 1].until.is_none_or(|until| position <= until)
        })
    }

    /// The rooms of now.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms
            .iter()
            .filter(|(_, intervals)| intervals.last().is_some_and(|last| last.until.is_none()))
            .map(|(room, _)| room)
    }

    /// Whether there is an interval of this room, past ones included.
    pub(crate) fn knows(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// Every room with an interval, past ones included.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms.keys()
    }

    /// Forgets intervals that ended at or before this place: nobody can read records of that time any more.
    pub(crate) fn forget_before(&mut self, start: Position) {
        self.rooms.retain(|_, intervals| {
            intervals.retain(|interval| interval.until.is_none_or(|until| until > start));
            !intervals.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_say_who_was_in_when() {
        let room: Arc<str> = "r".into();
        let at = Position::new;
        let mut rooms = Memberships::default();
        assert!(rooms.enter(&room, at(3)));
        assert!(!rooms.enter(&room, at(4)));
        assert!(rooms.leave("r", at(6)));
        assert!(!rooms.leave("r", at(7)));
        assert!(rooms.enter(&room, at(8)));
        let seen: Vec<u64> = (1..=10).filter(|p| rooms.was_in("r", at(*p))).collect();
        assert_eq!(seen, [4, 5, 6, 9, 10]);
        assert_eq!(rooms.current().count(), 1);
        rooms.forget_before(at(6));
        assert!(!rooms.was_in("r", at(5)) && rooms.was_in("r", at(9)));
        rooms.leave("r", at(9));
        rooms.forget_before(at(9));
        assert!(rooms.is_empty());
        for _ in 0..3 {
            assert!(rooms.enter(&room, at(9)) && rooms.leave("r", at(9)));
        }
        assert_eq!(rooms.len(), 0);
    }

    #[test]
    fn each_stay_in_a_room_counts() {
        let room: Arc<str> = "r".into();
        let mut rooms = Memberships::default();
        for n in 0..10 {
            rooms.enter(&room, Position::new(2 * n));
            rooms.leave("r", Position::new(2 * n + 1));
        }
        assert_eq!(rooms.len(), 10);
        assert!((0..20).all(|n| rooms.was_in("r", Position::new(n)) == (n % 2 == 1)));
    }
}
