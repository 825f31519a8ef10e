//! The connections of this node that have ended, and the answers to asks, as far as they are kept.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::log::life::{ConnectionLife, unix_ms};
use crate::values::connection::ConnectionId;
use crate::values::cursor::Epoch;
use crate::values::fate::Answer;
use crate::values::member::Member;
use crate::values::position::Position;

/// The default of the most connections that are kept after their end, and of answers.
pub const CONNECTION_LIVES: usize = 10_000;

/// The newest connections of this node that have ended, and the newest answers to asks; for one
/// more, the oldest is forgotten.
pub(crate) struct Lives {
    /// Held to add one, or to look through them.
    ring: Mutex<Ring>,
    /// The start of this node, in milliseconds since 1970.
    pub(crate) started_ms: u64,
}

struct Ring {
    most: usize,
    ended: VecDeque<ConnectionLife>,
    /// The last connection that was forgotten.
    forgotten: Option<Forgotten>,
    answers: VecDeque<(Position, ConnectionId, Answer)>,
    /// The newest ask of which an answer was forgotten.
    forgotten_ask: Position,
}

/// The connections of a user that are kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The newest, the last to end first.
    pub(crate) lives: Vec<ConnectionLife>,
    /// The number of those that are not among them.
    pub(crate) more: u64,
    /// The last connection, of whatever user, that was forgotten.
    pub(crate) forgotten: Option<Forgotten>,
    /// `false` if none are kept.
    pub(crate) is_on: bool,
}

/// A connection that was forgotten for a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// The end of the connection, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) epoch: Epoch,
    /// The newest position that was applied when it, or an earlier one of the epoch, ended.
    pub(crate) position: Position,
}

impl Default for Lives {
    fn default() -> Self {
        let ring = Ring {
            most: CONNECTION_LIVES,
            ended: VecDeque::new(),
            forgotten: None,
            answers: VecDeque::new(),
            forgotten_ask: Position::START,
        };
        Self { ring: Mutex::new(ring), started_ms: unix_ms(SystemTime::now()) }
    }
}

impl Lives {
    /// Sets the most that are kept of each; 0 keeps none.
    pub(crate) fn keep(&self, most: usize) {
        let mut ring = self.ring();
        ring.most = most;
        ring.trim();
    }

    /// Adds a connection that has ended.
    pub(crate) fn add(&self, life: ConnectionLife) {
        let mut ring = self.ring();
        if ring.most > 0 {
            ring.ended.push_back(life);
            ring.trim();
        }
    }

    /// Adds the answer to the ask at a position.
    pub(crate) fn answered(&self, ask: Position, connection: ConnectionId, answer: Answer) {
        let mut ring = self.ring();
        ring.answers.push_back((ask, connection, answer));
        ring.trim();
    }

    /// Returns up to `most` connections of a user.
    pub(crate) fn of(&self, member: &Member, most: usize) -> Kept {
        let ring = self.ring();
        let mut of_user = ring.ended.iter().rev().filter(|life| life.is_of(member));
        let lives = of_user.by_ref().take(most).cloned().collect();
        let more = of_user.count() as u64;
        Kept { lives, more, forgotten: ring.forgotten, is_on: ring.most > 0 }
    }

    /// Returns the answer of a connection to the ask at a position that is not awaited any more.
    pub(crate) fn answer(&self, ask: Position, connection: ConnectionId) -> Answer {
        let ring = self.ring();
        let mut answers = ring.answers.iter().rev();
        match answers.find(|(position, from, _)| (*position, *from) == (ask, connection)) {
            Some((_, _, answer)) => *answer,
            None if ring.most == 0 || ask <= ring.forgotten_ask => Answer::Unknown,
            None => Answer::Missing,
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn trim(&mut self) {
        while self.ended.len() > self.most {
            let Some(ConnectionLife { epoch, end: Some(end), .. }) = self.ended.pop_front() else { continue };
            let earlier = self.forgotten.filter(|earlier| earlier.epoch == epoch);
            let position = earlier.map_or(end.position, |earlier| earlier.position.max(end.position));
            self.forgotten = Some(Forgotten { at_ms: unix_ms(end.at), epoch, position });
        }
        while self.answers.len() > self.most {
            let ask = self.answers.pop_front().map(|(ask, ..)| ask);
            self.forgotten_ask = self.forgotten_ask.max(ask.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::log::life::End;
    use crate::log::life::tests::life;
    use crate::values::close::CloseReason;

    fn ended(user: &str, tenant: Option<&str>, at: u64) -> ConnectionLife {
        let (position, at) = (Position::new(9 - at), SystemTime::UNIX_EPOCH + Duration::from_millis(at));
        let end = End { at, position, reason: CloseReason::NORMAL };
        ConnectionLife { user: Some(user.into()), tenant: tenant.map(Into::into), end: Some(end), ..life(0, 1) }
    }

    #[test]
    fn ring_keeps_the_newest_and_says_what_it_forgot() {
        let lives = Lives::default();
        lives.keep(3);
        let ids: Vec<_> = [("ann", None, 1), ("ann", Some("t"), 2), ("bob", None, 3), ("ann", Some("t"), 4)]
            .map(|(user, tenant, at)| {
                let life = ended(user, tenant, at);
                let id = life.connection;
                lives.add(life);
                id
            })
            .into();
        let found = |member: &Member, most| {
            let Kept { lives, more, forgotten, is_on } = lives.of(member, most);
            let forgotten = forgotten.map(|forgotten| (forgotten.at_ms, forgotten.position.get()));
            (lives.iter().map(|life| life.connection).collect::<Vec<_>>(), more, forgotten, is_on)
        };
        assert_eq!(found(&Member::bare("ann"), 9), (vec![ids[3], ids[1]], 0, Some((1, 8)), true));
        assert_eq!(found(&Member::bare("ann"), 1), (vec![ids[3]], 1, Some((1, 8)), true));
        assert_eq!(found(&Member::of_tenant("other", "ann"), 9), (vec![], 0, Some((1, 8)), true));
        assert_eq!(lives.ring().ended.len(), 3);
        lives.keep(0);
        assert_eq!(found(&Member::bare("ann"), 9), (vec![], 0, Some((4, 8)), false));
    }

    #[test]
    fn answers_are_known_until_they_are_overwritten() {
        let lives = Lives::default();
        lives.keep(2);
        let (ann, bob) = (ConnectionId::random(), ConnectionId::random());
        lives.answered(Position::new(5), ann, Answer::Received);
        lives.answered(Position::new(6), bob, Answer::Unreadable);
        let answer = |ask, connection| lives.answer(Position::new(ask), connection);
        assert_eq!((answer(5, ann), answer(5, bob)), (Answer::Received, Answer::Missing));
        lives.answered(Position::new(7), bob, Answer::Received);
        assert_eq!((answer(5, ann), answer(6, bob)), (Answer::Unknown, Answer::Unreadable));
        assert_eq!(answer(6, ann), Answer::Missing);
    }
}
