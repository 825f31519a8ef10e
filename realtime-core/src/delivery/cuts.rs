//! Large records within which connections are lost again and again.
//!
//! On a slow line such a record can take longer than the connection lasts (a heartbeat behind it, a
//! proxy's time limit). The client resumes from the same position, and is disconnected within the
//! same record again: without an end to that no later record ever arrives.

use std::collections::{BTreeMap, VecDeque};

use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::position::Position;

/// The size, in bytes, above which a frame is large; smaller records are never passed over.
pub(crate) const LARGE: usize = 64 * 1024;
/// The number of a user's connections that may be lost within a record before it is passed over for
/// that user.
const MOST: u32 = 3;
/// The most pairs of record and user that are counted; the one that was counted first is forgotten
/// for a new one.
const MAX: usize = 1000;
/// The most large frames of one connection that are kept until it is closed: more than fit into 4
/// MiB, which is the default bound of Linux for what waits for a peer.
const MAX_IN_FLIGHT: usize = 128;

/// A large record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    /// The index among the frames that were taken with it.
    pub(crate) at: usize,
    pub(crate) position: Position,
    pub(crate) size: usize,
}

/// The number of connections lost within each record, for each user of each tenant.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    counts: BTreeMap<(Position, Member), u32>,
    /// The counted pairs in the order in which they were counted first, so that the order of names
    /// decides nothing.
    order: VecDeque<(Position, Member)>,
}

impl Cuts {
    /// Counts a connection of this identity that was lost within this record. Anonymous ones are
    /// not counted: all of them would count together.
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

    /// Returns whether a record of this size is passed over for this identity.
    pub(crate) fn passes_over(&self, position: Position, size: usize, identity: &Identity) -> bool {
        size > LARGE
            && !self.counts.is_empty()
            && Member::of(identity)
                .is_some_and(|member| self.counts.get(&(position, member)).is_some_and(|cuts| *cuts >= MOST))
    }

    /// Forgets the records up to this position, which have left the window.
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

/// The large frames that one connection has taken and that may not have arrived.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// The number of frames that were taken in all.
    taken: u64,
    /// The large ones among them, with their numbers; most connections have none.
    large: Vec<(u64, Large)>,
}

impl InFlight {
    /// Adds the frames of a take, with these large ones among them.
    pub(crate) fn take(&mut self, frames: usize, large: Vec<Large>) {
        for large in large {
            if self.large.len() == MAX_IN_FLIGHT {
                self.large.remove(0);
            }
            self.large.push((self.taken + large.at as u64, large));
        }
        self.taken += frames as u64;
    }

    /// Returns the large record that is this frame, once.
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
    fn losses_count_per_user_tenant_and_record() {
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
    fn count_is_bounded_and_keeps_the_newest() {
        let mut cuts = Cuts::default();
        for number in 0..2 * MAX as u64 {
            cuts.count(at(number), &Identity::user("ann"));
        }
        assert_eq!((cuts.counts.len(), cuts.counts.keys().next().unwrap().0), (MAX, at(MAX as u64)));
    }

    #[test]
    fn large_frame_is_found_once_by_its_number() {
        let mut in_flight = InFlight::default();
        let large = |at: usize, number| Large { at, position: Position::new(number), size: 100_000 };
        in_flight.take(3, vec![large(1, 10)]);
        in_flight.take(2, vec![large(0, 11), large(1, 12)]);
        assert_eq!(in_flight.end_within(4), Some(large(1, 12)));
        assert_eq!(in_flight.end_within(4), None);
        in_flight.take(2 * MAX_IN_FLIGHT, (0..2 * MAX_IN_FLIGHT).map(|n| large(n, 20)).collect());
        assert_eq!(in_flight.large.len(), MAX_IN_FLIGHT);
    }

    /// Of one record and more users than are counted, the later ones are counted all the same.
    #[test]
    fn later_users_of_one_record_are_counted() {
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
