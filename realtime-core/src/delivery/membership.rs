use std::collections::HashMap;
use std::sync::Arc;

use crate::log::life::{Stay, Stays};
use crate::values::position::Position;

/// The rooms of a user or of one connection, as intervals of positions, so that a reader that is
/// behind sees exactly what it would have seen live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memberships {
    rooms: HashMap<Arc<str>, Vec<Interval>>,
}

/// A membership for every record after `after`, up to and including `until`.
#[derive(Clone, Copy, Debug)]
struct Interval {
    after: Position,
    until: Option<Position>,
}

impl Memberships {
    /// Enters a room at this position; `false` if already in.
    pub(crate) fn enter(&mut self, room: &Arc<str>, at: Position) -> bool {
        if self.is_in(room) {
            return false;
        }
        self.rooms.entry(Arc::clone(room)).or_default().push(Interval { after: at, until: None });
        true
    }

    /// Leaves a room at this position; `false` if not in.
    pub(crate) fn leave(&mut self, room: &str, at: Position) -> bool {
        let Some(intervals) = self.rooms.get_mut(room) else { return false };
        match intervals.last_mut() {
            Some(interval) if interval.until.is_some() => return false,
            Some(interval) if interval.after < at => interval.until = Some(at),
            // A stay without any record is not kept: entering and leaving over and over must not
            // fill the memory.
            _ => drop(intervals.pop()),
        }
        if intervals.is_empty() {
            self.rooms.remove(room);
        }
        true
    }

    /// Leaves, at the position `at`, the rooms that were entered up to `seen`, and returns them.
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

    /// Returns the number of stays in rooms that are kept, past ones included.
    pub(crate) fn len(&self) -> usize {
        self.rooms.values().map(Vec::len).sum()
    }

    /// Returns whether this is a current member.
    pub(crate) fn is_in(&self, room: &str) -> bool {
        self.rooms.get(room).and_then(|intervals| intervals.last()).is_some_and(|interval| interval.until.is_none())
    }

    /// Returns whether this was a member when the record was appended.
    pub(crate) fn was_in(&self, room: &str, position: Position) -> bool {
        self.rooms.get(room).is_some_and(|intervals| {
            // The intervals do not overlap: take the last one that began before the record.
            let begun = intervals.partition_point(|interval| interval.after < position);
            begun > 0 && intervals[begun - 1].until.is_none_or(|until| position <= until)
        })
    }

    /// Returns the current rooms.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms
            .iter()
            .filter(|(_, intervals)| intervals.last().is_some_and(|last| last.until.is_none()))
            .map(|(room, _)| room)
    }

    /// Returns whether there is an interval of this room, past ones included.
    pub(crate) fn knows(&self, room: &str) -> bool {
        self.rooms.contains_key(room)
    }

    /// Returns every room with an interval, past ones included.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Arc<str>> {
        self.rooms.keys()
    }

    /// Forgets the intervals that ended at or before this position: no reader gets those records
    /// any more.
    pub(crate) fn forget_before(&mut self, start: Position) {
        self.rooms.retain(|_, intervals| {
            intervals.retain(|interval| interval.until.is_none_or(|until| until > start));
            !intervals.is_empty()
        });
    }

    /// Returns up to `most` stays, the latest of each room first, in this room or in all; those
    /// that ended up to `since` may be forgotten already.
    pub(crate) fn stays(&self, room: Option<&str>, most: usize, since: Position) -> Stays {
        let meant = self.rooms.iter().filter(|(name, _)| room.is_none_or(|room| ***name == *room));
        let mut stays = meant.flat_map(|(room, intervals)| {
            let stay =
                |interval: &Interval| Stay { room: Arc::clone(room), after: interval.after, until: interval.until };
            intervals.iter().rev().map(stay)
        });
        let kept = stays.by_ref().take(most).collect();
        Stays { kept, since, more: stays.next().is_some() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_tell_membership_at_each_position() {
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
    fn each_stay_in_a_room_is_kept() {
        let room: Arc<str> = "r".into();
        let mut rooms = Memberships::default();
        for n in 0..10 {
            rooms.enter(&room, Position::new(2 * n));
            rooms.leave("r", Position::new(2 * n + 1));
        }
        assert_eq!(rooms.len(), 10);
        let stays = rooms.stays(Some("r"), 9, Position::START);
        assert_eq!((stays.kept.len(), stays.kept[0].after, stays.more), (9, Position::new(18), true));
        assert!(rooms.stays(Some("s"), 9, Position::START).kept.is_empty());
        assert!(!rooms.stays(None, 10, Position::START).more);
        assert!((0..20).all(|n| rooms.was_in("r", Position::new(n)) == (n % 2 == 1)));
    }
}
