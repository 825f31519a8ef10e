use std::collections::{BTreeMap, VecDeque};

use crate::log::offline::checkpoint::{Flags, Word};
use crate::values::position::Position;

/// The most words of 64 positions that are kept: a million positions in 400 kB. Of earlier ones
/// nothing is known.
const MOST_WORDS: usize = 16_384;
/// The most words in one message: 65,536 positions.
const MOST_SENT: usize = 1_024;

/// The records after a checkpoint, as far as they are known: which are for users, and which of
/// those have reached them. Three bits a position, from the checkpoint to the log's end.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The number of the first word.
    first: u64,
    words: VecDeque<Bits>,
    /// The flags of the positions before the checkpoint that it names as open.
    open: BTreeMap<u64, Flags>,
    /// The last position before the records that this node has read one after the other: it does
    /// not know which of the earlier ones are for users.
    known_from: u64,
    /// The last of them.
    last: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    users: u64,
    settled: u64,
    matched: u64,
}

/// The next record to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// The position of the record; `None` if there is none in the range.
    pub(crate) position: Option<Position>,
    /// `true` if records for users were passed over, which have reached them.
    pub(crate) passed: bool,
}

impl Places {
    /// Notes that this node has applied a record.
    pub(crate) fn applied(&mut self, position: Position, for_user: bool) {
        let at = position.get();
        if at > self.last {
            if at != self.last + 1 {
                self.known_from = at - 1;
            }
            self.last = at;
        }
        if for_user && let Some(bits) = self.bits(at) {
            bits.users |= bit(at);
        }
    }

    /// Notes that a connection has got an event, or answered an ask.
    pub(crate) fn settle(&mut self, position: Position) {
        self.add(position.get(), Flags { settled: true, matched: false });
    }

    /// Notes that a connection has got an ask.
    pub(crate) fn set_matched(&mut self, position: Position) {
        self.add(position.get(), Flags { settled: false, matched: true });
    }

    /// Adds what another node knows.
    pub(crate) fn merge(&mut self, words: &[Word], open: &[(Position, Flags)]) {
        // Not more ahead of this node than fits beside its own.
        let most = self.last / 64 + MOST_WORDS as u64 / 2;
        for Word(number, settled, matched) in words.iter().filter(|word| word.0 <= most) {
            let Some(bits) = self.bits(number * 64) else { continue };
            bits.settled |= settled;
            bits.matched |= matched;
        }
        for (position, flags) in open {
            if let Some(known) = self.open.get_mut(&position.get()) {
                *known = known.union(*flags);
            }
        }
    }

    /// Returns what is known of a position.
    pub(crate) fn flags(&self, position: Position) -> Flags {
        let at = position.get();
        let flags = self
            .known_bits(at)
            .map(|bits| Flags { settled: bits.settled & bit(at) != 0, matched: bits.matched & bit(at) != 0 });
        flags.unwrap_or_default().union(self.open.get(&at).copied().unwrap_or_default())
    }

    /// Forgets what is decided, except the positions that are open.
    pub(crate) fn trim(&mut self, decided: Position, open: &[Position]) {
        self.open = open.iter().map(|position| (position.get(), self.flags(*position))).collect();
        let first = decided.next().get() / 64;
        while self.first < first && self.words.pop_front().is_some() {
            self.first += 1;
        }
        self.first = self.first.max(first);
    }

    /// Returns the first record after a position, up to another one, that may have to be decided: a
    /// record for a user who has not got it, or one of which that is not known.
    pub(crate) fn next(&self, after: Position, until: Position) -> Next {
        let (mut at, until, mut passed) = (after.get() + 1, until.get(), false);
        while at <= until {
            let Some(bits) = self.known_bits(at).filter(|_| at > self.known_from && at <= self.last) else {
                return Next { position: Some(Position::new(at)), passed };
            };
            let users = bits.users & (u64::MAX << (at % 64));
            let open = users & !bits.settled;
            let base = at - at % 64;
            let found = base + u64::from(open.trailing_zeros());
            let end = (base + 63).min(until).min(self.last);
            let is_found = open != 0 && found <= end;
            // The settled ones in front of it, or up to the end.
            let before = if is_found { found } else { end + 1 };
            let seen = if before - base == 64 { u64::MAX } else { bit(before) - 1 };
            passed |= users & bits.settled & seen != 0;
            if is_found {
                return Next { position: Some(Position::new(found)), passed };
            }
            at = end + 1;
        }
        Next { position: None, passed }
    }

    /// Returns how many records after a position, up to another one, may have to be decided.
    pub(crate) fn undecided(&self, after: Position, until: Position) -> u64 {
        let (mut count, mut after) = (0, after);
        while after < until {
            let from = after.get() + 1;
            if from <= self.known_from || from / 64 < self.first || from > self.last {
                let known = self.known_from.max((self.first * 64).saturating_sub(1));
                let end = if from > self.last { until.get() } else { known.clamp(from, until.get()) };
                count += end - after.get();
                after = Position::new(end);
                continue;
            }
            let Some(position) = self.next(after, until).position else { break };
            count += 1;
            after = position;
        }
        count
    }

    /// Returns the last position of which this node does not know whether it is for a user.
    pub(crate) fn known_from(&self) -> Position {
        Position::new(self.known_from)
    }

    /// Returns what is known, to be sent to others: the newest part if it is much.
    pub(crate) fn to_share(&self) -> (Vec<Word>, Vec<(Position, Flags)>) {
        let skipped = self.words.len().saturating_sub(MOST_SENT);
        let words = self.words.iter().enumerate().skip(skipped).filter(|(_, bits)| bits.settled | bits.matched != 0);
        let words = words.map(|(at, bits)| Word(self.first + at as u64, bits.settled, bits.matched)).collect();
        let open = self.open.iter().filter(|(_, flags)| **flags != Flags::default());
        (words, open.map(|(at, flags)| (Position::new(*at), *flags)).collect())
    }

    fn add(&mut self, at: u64, flags: Flags) {
        if let Some(known) = self.open.get_mut(&at) {
            *known = known.union(flags);
        }
        if let Some(bits) = self.bits(at) {
            bits.settled |= if flags.settled { bit(at) } else { 0 };
            bits.matched |= if flags.matched { bit(at) } else { 0 };
        }
    }

    /// Returns the bits of a position, which are made if it is a later one; `None` for one that was
    /// forgotten.
    fn bits(&mut self, at: u64) -> Option<&mut Bits> {
        let number = at / 64;
        if self.words.is_empty() {
            self.first = self.first.max(number);
        }
        let index = usize::try_from(number.checked_sub(self.first)?).unwrap_or(usize::MAX);
        if index >= MOST_WORDS {
            let dropped = index - MOST_WORDS + 1;
            self.words.drain(..dropped.min(self.words.len()));
            self.first += dropped as u64;
        }
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if index >= self.words.len() {
            self.words.resize(index + 1, Bits::default());
        }
        self.words.get_mut(index)
    }

    fn known_bits(&self, at: u64) -> Option<Bits> {
        let index = usize::try_from((at / 64).checked_sub(self.first)?).ok()?;
        self.words.get(index).copied().or_else(|| (at <= self.last).then(Bits::default))
    }
}

impl Flags {
    /// Returns the flags that are set in either of them.
    fn union(self, other: Self) -> Self {
        Self { settled: self.settled || other.settled, matched: self.matched || other.matched }
    }
}

fn bit(at: u64) -> u64 {
    1 << (at % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    fn position(at: u64) -> Position {
        Position::new(at)
    }

    /// Returns the positions that are found, one after the other.
    fn found(places: &Places, after: u64, until: u64) -> Vec<u64> {
        let next = |after: &Position| places.next(*after, position(until)).position;
        std::iter::successors(next(&position(after)), next).map(Position::get).collect()
    }

    #[test]
    fn only_records_for_users_without_a_taker_are_found() {
        let mut places = Places::default();
        let mut expected = BTreeSet::new();
        for at in 1..=1_000 {
            let (for_user, is_settled) = (at % 3 != 0, at % 5 != 0 && at % 64 != 1);
            places.applied(position(at), for_user);
            if is_settled && for_user {
                places.settle(position(at));
            } else if for_user {
                expected.insert(at);
            }
        }
        for (after, until) in [(0, 1_000), (0, 63), (63, 64), (127, 129), (500, 700), (1_000, 1_000)] {
            let some: Vec<_> = expected.iter().copied().filter(|at| *at > after && *at <= until).collect();
            assert_eq!(found(&places, after, until), some, "{after} to {until}");
            assert_eq!(places.undecided(position(after), position(until)), some.len() as u64);
        }
        assert!(places.next(position(1), position(4)).passed, "2 is settled");
        assert!(!places.next(position(2), position(3)).passed, "3 is for nobody");
    }

    #[test]
    fn unread_records_are_all_found() {
        let mut places = Places::default();
        places.applied(position(70), false);
        places.applied(position(71), true);
        places.settle(position(71));
        assert_eq!(places.known_from(), position(69));
        assert_eq!(found(&places, 66, 73), [67, 68, 69, 72, 73]);
        assert_eq!(places.undecided(position(66), position(73)), 5);
    }

    #[test]
    fn shared_places_are_merged_whatever_their_order() {
        let (mut one, mut two) = (Places::default(), Places::default());
        for at in 1..=200 {
            one.applied(position(at), true);
            two.applied(position(at), true);
        }
        (1..=200).filter(|at| at % 2 == 0).for_each(|at| one.settle(position(at)));
        two.set_matched(position(7));
        let (words, open) = one.to_share();
        two.merge(&words, &open);
        two.merge(&words, &open);
        assert_eq!(found(&two, 0, 200), (1..=200).filter(|at| at % 2 == 1).collect::<Vec<_>>());
        assert_eq!(two.flags(position(7)), Flags { settled: false, matched: true });
    }

    #[test]
    fn trimmed_places_keep_those_that_are_open() {
        let mut places = Places::default();
        (1..=300).for_each(|at| places.applied(position(at), true));
        places.set_matched(position(10));
        places.trim(position(200), &[position(10), position(11)]);
        places.settle(position(11));
        places.settle(position(12));
        assert_eq!(places.flags(position(10)), Flags { settled: false, matched: true });
        assert_eq!(places.flags(position(11)), Flags { settled: true, matched: false });
        assert_eq!(places.flags(position(12)), Flags::default(), "forgotten");
        assert_eq!(places.to_share().1.len(), 2);
        places.trim(position(250), &[]);
        assert_eq!(places.flags(position(11)), Flags::default());
        assert_eq!(found(&places, 250, 300).len(), 50);
    }

    #[test]
    fn memory_is_bounded_whatever_the_positions() {
        let mut places = Places::default();
        for at in [1, 5_000_000, u64::MAX - 1, 7] {
            places.merge(&[Word(at / 64, 1, 1)], &[]);
            assert!(places.words.len() <= MOST_WORDS);
        }
        places.merge(&[Word(u64::MAX, 1, 1)], &[]);
        let shared: HashSet<_> = places.to_share().0.iter().map(|word| word.0).collect();
        assert!(shared.len() <= MOST_SENT);
    }
}
