use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::log::backplane::{AppendError, AppendResult, Appended};
use crate::log::repeat::RepeatKey;
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// The idempotency keys that a log in memory remembers, up to a bound: the oldest is dropped first.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) max: usize,
    known: HashMap<[u8; 16], First>,
    /// The keys in the order in which they arrived.
    order: VecDeque<[u8; 16]>,
}

/// The record that had a key first.
#[derive(Clone, Copy, Debug)]
struct First {
    content: [u8; 16],
    position: Position,
    id: EventId,
    until: Instant,
}

impl Keys {
    pub(super) fn new(max: usize) -> Self {
        Self { max, known: HashMap::new(), order: VecDeque::new() }
    }

    /// Returns the answer to an append with this key that appends nothing; `None` when the key is
    /// not known.
    pub(super) fn repeat(&mut self, key: &RepeatKey, now: Instant) -> Option<AppendResult> {
        self.forget(self.max, now);
        let first = self.known.get(&key.key).filter(|first| first.until > now)?;
        if first.content != key.content {
            return Some(Err(AppendError::KeyReused));
        }
        Some(Ok(Appended { position: first.position, id: first.id, repeated: true }))
    }

    /// Remembers the key of the record with this id and position.
    pub(super) fn remember(&mut self, key: &RepeatKey, position: Position, id: EventId, now: Instant) {
        self.forget(self.max - 1, now);
        let first = First { content: key.content, position, id, until: now + key.keep };
        if self.known.insert(key.key, first).is_some() {
            // The key had expired, and was queued behind one that is kept for longer.
            self.order.retain(|known| *known != key.key);
        }
        self.order.push_back(key.key);
    }

    /// Returns a copy with the keys of records up to a position.
    pub(super) fn copy_up_to(&self, last: Position) -> Self {
        let mut copy = Self { max: self.max, known: self.known.clone(), order: self.order.clone() };
        copy.known.retain(|_, first| first.position <= last);
        copy.order.retain(|key| copy.known.contains_key(key));
        copy
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    /// Drops the oldest keys that have expired, and those beyond this number; returns them.
    pub(super) fn forget(&mut self, max: usize, now: Instant) -> Vec<[u8; 16]> {
        let mut forgotten = Vec::new();
        while let Some(oldest) = self.order.front()
            && (self.order.len() > max || self.known.get(oldest).is_none_or(|first| first.until <= now))
        {
            self.known.remove(oldest);
            forgotten.extend(self.order.pop_front());
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u8, content: u8, seconds: u64) -> RepeatKey {
        RepeatKey { key: [number; 16], content: [content; 16], keep: Duration::from_secs(seconds) }
    }

    #[test]
    fn keys_are_bounded_by_number_and_by_their_own_time() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut keys = Keys::new(2);
        for (number, second) in [(1, 0), (2, 50), (3, 60)] {
            keys.remember(&key(number, 0, 100), Position::new(number.into()), EventId::random(), at(second));
        }
        for (second, expected) in
            [(60, [false, true, true]), (149, [false, true, true]), (150, [false, false, true]), (160, [false; 3])]
        {
            let known = [1, 2, 3].map(|number| keys.repeat(&key(number, 0, 100), at(second)).is_some());
            assert_eq!(known, expected, "{second}");
        }
        assert!(keys.known.is_empty() && keys.order.is_empty());
    }

    #[test]
    fn expired_key_behind_a_valid_one_starts_again() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut keys = Keys::new(10);
        keys.remember(&key(1, 0, 100), Position::new(1), EventId::random(), at(0));
        keys.remember(&key(2, 0, 1), Position::new(2), EventId::random(), at(0));
        assert!(keys.repeat(&key(2, 0, 1), at(1)).is_none());
        keys.remember(&key(2, 0, 1), Position::new(3), EventId::random(), at(1));
        let again = keys.repeat(&key(2, 0, 1), at(1)).unwrap().unwrap();
        assert_eq!((again.position, again.repeated, keys.order.len()), (Position::new(3), true, 2));
    }

    #[test]
    fn different_content_is_no_repeat() {
        let now = Instant::now();
        let mut keys = Keys::new(10);
        keys.remember(&key(1, 0, 100), Position::new(1), EventId::random(), now);
        assert!(matches!(keys.repeat(&key(1, 1, 100), now), Some(Err(AppendError::KeyReused))));
        keys.clear();
        assert!(keys.repeat(&key(1, 1, 100), now).is_none());
    }
}
