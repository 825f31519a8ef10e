//! Large records in which connections end again and again.
//!
//! On a slow line such a record can take longer than the connection lasts (a heartbeat behind it, a proxy's time). Its client
//! comes back to the same place, and is cut in it again: without an end to that nothing behind the record ever arrives.

use std::collections::{BTreeMap, VecDeque};

use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::position::Position;

/// The size of a frame above which it is looked after; smaller records are never passed over.
pub(crate) const LARGE: usize = 64 * 1024;
/// In how many connections of a user a record may be cut before it is passed over for that user.
const MOST: u32 = 3;
/// Records and users that are counted; the one that was counted first is forgotten for a new one.
const MAX: usize = 1000;
/// Large frames of one connection that are remembered until it has ended: more than fit into 4 MiB, which is what Linux lets
/// wait for a peer by default.
const MAX_IN_FLIGHT: usize = 128;

/// A large record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    /// Which one it is of the frames that were taken with it.
    pub(crate) at: usize,
    pub(crate) position: Position,
    pub(crate) size: usize,
}

/// How often each record was cut, for each user of each tenant.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    counts: BTreeMap<(Position, Member), u32>,
    /// What is counted, in the order in which it was counted first: which user sorts where decides nothing.
    order: VecDeque<(Position, Member)>,
}

impl Cuts {
    /// A connection of this identity has ended within this record. Nobody's whose name is not known: all of them would count
    /// together.
    pub(crate) fn count(&mut self, position: Position, identity: &Identity) {
        let Some(member) = Member::of(identity) else { return };
        let key = (position, member);
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
            return;
        }
        if self.order.len() >= MAX
            && let Some(first) = self.order.pop_front()
        {
            self.counts.remove(&first);
        }
        self.order.push_back(key.clone());
        self.counts.insert(key, 1);
    }

    /// Whether a record of this size is passed over for this identity.
    pub(crate) fn passes_over(&self, position: Position, size: usize, identity: &Identity) -> bool {
        size > LARGE
            && !self.counts.is_empty()
            && Member::of(identity)
                .is_some_and(|member| self.counts.get(&(position, member)).is_some_and(|cuts| *cuts >= MOST))
    }

    /// Everything up to here has left the window.
    pub(crate) fn forget(&mut self, start: Position) {
        if self.counts.first_key_value().is_some_and(|((position, _), _)| *position <= start) {
            self.counts.retain(|(position, _), _| *position > start);
            self.order.retain(|(position, _)| *position > start);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.clear();
        self.order.clear();
    }
}

/// What one connection has taken and may not have arrived.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Frames that were taken in all.
    taken: u64,
    /// The large ones among them, by their number; most connections have none.
    large: Vec<(u64, Large)>,
}

impl InFlight {
    /// So many frames were taken, with these large ones among them.
    pub(crate) fn take(&mut self, frames: usize, large: Vec<Large>) {
        for large in large {
            if self.large.len() == MAX_IN_FLIGHT {
                self.large.remove(0);
            }
            self.large.push((self.taken + large.at as u64, large));
        }
        self.taken += frames as u64;
    }

    /// The large record that is this frame, told once.
    pub(crate) fn end_within(&mut self, frame: u64) -> Option<Large> {
        let large = std::mem::take(&mut self.large);
        large.into_iter().find_map(|(number, large)| (number == frame).then_some(large))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(number: u64) -> Position {
        Position::new(number)
    }

    #[test]
    fn cuts_count_for_each_user_of_each_tenant_and_record() {
        let mut cuts = Cuts::default();
        let [ann, other, bob] = [Identity::user("ann"), Identity::user("ann").with_tenant("t"), Identity::user("bob")];
        for _ in 0..MOST {
            assert!(!cuts.passes_over(at(7), LARGE + 1, &ann));
            cuts.count(at(7), &ann);
            cuts.count(at(7), &Identity::anonymous());
        }
        assert!(cuts.passes_over(at(7), LARGE + 1, &ann));
        assert!(!cuts.passes_over(at(7), LARGE, &ann), "small");
        assert!(!cuts.passes_over(at(8), LARGE + 1, &ann));
        for identity in [&other, &bob, &Identity::anonymous()] {
            assert!(!cuts.passes_over(at(7), LARGE + 1, identity));
        }
        cuts.forget(at(6));
        assert!(cuts.passes_over(at(7), LARGE + 1, &ann));
        cuts.forget(at(7));
        assert!(cuts.counts.is_empty() && cuts.order.is_empty());
    }

    #[test]
    fn few_are_counted_and_the_newest_stay() {
        let mut cuts = Cuts::default();
        for number in 0..2 * MAX as u64 {
            cuts.count(at(number), &Identity::user("ann"));
        }
        assert_eq!((cuts.counts.len(), cuts.counts.keys().next().unwrap().0), (MAX, at(MAX as u64)));
    }

    #[test]
    fn the_frame_is_found_by_its_number_once() {
        let mut in_flight = InFlight::default();
        let large = |at: usize, number| Large { at, position: Position::new(number), size: 100_000 };
        in_flight.take(3, vec![large(1, 10)]);
        in_flight.take(2, vec![large(0, 11), large(1, 12)]);
        assert_eq!(in_flight.end_within(4), Some(large(1, 12)));
        assert_eq!(in_flight.end_within(4), None);
        in_flight.take(2 * MAX_IN_FLIGHT, (0..2 * MAX_IN_FLIGHT).map(|n| large(n, 20)).collect());
        assert_eq!(in_flight.large.len(), MAX_IN_FLIGHT);
    }

    /// Of one record and more users than are counted, who comes later is helped all the same.
    #[test]
    fn which_user_sorts_where_decides_nothing() {
        let mut cuts = Cuts::default();
        for n in (0..2 * MAX).rev() {
            let user = Identity::user(format!("{n:05}"));
            for _ in 0..MOST {
                cuts.count(at(1), &user);
            }
            assert!(cuts.passes_over(at(1), LARGE + 1, &user), "{n}");
        }
        assert_eq!((cuts.counts.len(), cuts.order.len()), (MAX, MAX));
        cuts.forget(at(1));
        assert!(cuts.counts.is_empty() && cuts.order.is_empty());
    }
}
