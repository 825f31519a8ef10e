//! The comparison of what was sent with what each client saw.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use crate::history::{Outcome, Place, Seen, Sent};
use crate::population::{Person, Population};

/// The examples of each violation that are kept.
const EXAMPLES: usize = 3;

/// The findings of the comparison, in numbers of events, or of deliveries to one client each.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Events in the log.
    pub ok: usize,
    /// Events that are certainly not.
    pub refused: usize,
    /// Events of which the sender does not know it.
    pub unknown: usize,
    /// Deliveries.
    pub delivered: usize,
    /// Connections that began with `reason: "epoch"`.
    pub anew: usize,
    /// Deliveries that are missing at clients that received `reason: "epoch"` afterwards.
    pub notified: usize,
    /// The number of violations of each kind.
    pub wrong: HashMap<Wrong, usize>,
    /// Examples of what must not be.
    pub examples: Vec<String>,
}

/// A violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wrong {
    /// A delivery at or before the place of an earlier one.
    Disordered,
    /// A second delivery of one event.
    Doubled,
    /// A connection that was resumed in another life than that of its cursor, a cursor of another
    /// life than its connection's, or two places of one event.
    Life,
    /// The event `lost`.
    Lost,
    /// A delivery of an event that was certainly refused.
    Refused,
    /// A delivery to a client that it was not for.
    Stray,
    /// A connection with a cursor that was neither resumed nor notified that the life is another
    /// one.
    Unresumed,
    /// A missing delivery, of which the client was not notified.
    Silent,
}

impl Wrong {
    /// Every violation, as in tables.
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Doubled,
        Self::Disordered,
        Self::Refused,
        Self::Stray,
        Self::Life,
        Self::Lost,
        Self::Unresumed,
    ];
}

/// Compares what was sent with what the clients saw, in the population's order, in a run that
/// keeps the log or not.
#[must_use]
pub fn judge(sent: &[Sent], population: &Population, seen: &[Vec<Seen>], keeps: bool) -> Verdict {
    let mut verdict = Verdict::default();
    for sent in sent {
        *match sent.outcome {
            Outcome::Ok(_) => &mut verdict.ok,
            Outcome::Refused => &mut verdict.refused,
            Outcome::Unknown => &mut verdict.unknown,
        } += 1;
    }
    let mut places: HashMap<(usize, u64), u64> = HashMap::new();
    let mut clients = Vec::new();
    for (person, seen) in population.people.iter().zip(seen) {
        clients.push(read(person, seen, sent, &mut places, &mut verdict));
    }
    let logged: HashSet<usize> = places.keys().map(|(number, _)| *number).collect();
    for (number, sent) in sent.iter().enumerate() {
        let is_expected = match sent.outcome {
            Outcome::Ok(_) => true,
            Outcome::Refused => false,
            // What reached one client is in the log.
            Outcome::Unknown => logged.contains(&number),
        };
        for (client, (person, read)) in population.people.iter().zip(&clients).enumerate() {
            if !is_expected || !person.is_in(sent.audience) || read.has(number) {
                continue;
            }
            if read.last_anew.is_some_and(|anew| anew >= sent.begun) {
                verdict.notified += 1;
            } else {
                verdict.note(Wrong::Silent, || format!("event {number} at client {client}: {sent:?}"));
            }
        }
    }
    compare_places(sent, &places, keeps, &mut verdict);
    verdict
}

impl Verdict {
    /// Returns the number of violations of a kind.
    #[must_use]
    pub fn count(&self, wrong: Wrong) -> usize {
        self.wrong.get(&wrong).copied().unwrap_or_default()
    }

    /// Returns whether nothing is as it must not be; in a run that keeps the log no client may be
    /// notified that it lost something either.
    #[must_use]
    pub fn holds(&self, keeps: bool) -> bool {
        self.wrong.is_empty() && (!keeps || self.anew == 0)
    }

    fn note(&mut self, wrong: Wrong, example: impl FnOnce() -> String) {
        let count = self.wrong.entry(wrong).or_default();
        *count += 1;
        if *count <= EXAMPLES {
            self.examples.push(format!("{wrong:?}: {}", example()));
        }
    }
}

/// The events that one client received, and its last notice of another life.
#[derive(Default)]
struct Read {
    /// The epochs in which it got each event.
    got: HashMap<usize, Vec<u64>>,
    /// The last time it was notified that the life is another one.
    last_anew: Option<Instant>,
}

impl Read {
    fn has(&self, number: usize) -> bool {
        self.got.contains_key(&number)
    }
}

/// Reads a client's history, and notes what is wrong in it alone.
fn read(
    person: &Person,
    seen: &[Seen],
    sent: &[Sent],
    places: &mut HashMap<(usize, u64), u64>,
    verdict: &mut Verdict,
) -> Read {
    let mut read = Read::default();
    // The life of the connection, and the place of the last event.
    let (mut life, mut last) = (0, Place::default());
    for seen in seen {
        match seen {
            Seen::End { .. } | Seen::Failed { .. } => {}
            Seen::Lost => verdict.note(Wrong::Lost, || format!("after {last:?}")),
            Seen::Welcome { at, resumed, anew, place, presented } => {
                life = place.epoch;
                if *anew {
                    verdict.anew += 1;
                    read.last_anew = Some(*at);
                    last = Place::default();
                } else if *resumed && presented.is_none_or(|presented| presented.epoch != place.epoch) {
                    verdict.note(Wrong::Life, || format!("resumed {presented:?} at {place:?}"));
                } else if !resumed && presented.is_some() {
                    verdict.note(Wrong::Unresumed, || format!("{seen:?}"));
                }
            }
            Seen::Event { number, place, .. } => {
                verdict.delivered += 1;
                if place.epoch != life {
                    verdict.note(Wrong::Life, || format!("event {number} of {place:?} on a connection of {life}"));
                }
                let Some(sent) = sent.get(*number).filter(|sent| person.is_in(sent.audience)) else {
                    verdict.note(Wrong::Stray, || format!("event {number} at {person:?}"));
                    continue;
                };
                if sent.outcome == Outcome::Refused {
                    verdict.note(Wrong::Refused, || format!("event {number}: {sent:?}"));
                }
                let epochs = read.got.entry(*number).or_default();
                let may_be_again = sent.retried || sent.outcome == Outcome::Unknown;
                if epochs.contains(&place.epoch) || !epochs.is_empty() && !may_be_again {
                    verdict.note(Wrong::Doubled, || format!("event {number} at {place:?}: {sent:?}"));
                } else if last.epoch == place.epoch && place.position <= last.position {
                    verdict.note(Wrong::Disordered, || format!("event {number} at {place:?} after {last:?}"));
                }
                epochs.push(place.epoch);
                last = *place;
                let same = *places.entry((*number, place.epoch)).or_insert(place.position);
                if same != place.position {
                    verdict.note(Wrong::Life, || format!("event {number} at {same} and at {place:?}"));
                }
            }
        }
    }
    read
}

/// Compares the places of events with those in their receipts, and, where the log is kept, with the
/// order of each sender. A log that was rolled back unnoticed gives positions a second time, with
/// other marks, until the first client presents one of the first time.
fn compare_places(sent: &[Sent], places: &HashMap<(usize, u64), u64>, keeps: bool, verdict: &mut Verdict) {
    let mut by_number: HashMap<usize, Vec<Place>> = HashMap::new();
    for ((number, epoch), position) in places {
        by_number.entry(*number).or_default().push(Place { epoch: *epoch, position: *position });
    }
    let mut last: HashMap<(usize, u64), u64> = HashMap::new();
    for (number, sent) in sent.iter().enumerate() {
        let Outcome::Ok(Some(position)) = sent.outcome else { continue };
        let Some(places) = by_number.get(&number) else { continue };
        if !places.iter().any(|place| place.position == position) {
            verdict.note(Wrong::Life, || format!("event {number} has {position} in its receipt, and is at {places:?}"));
        }
        for place in places.iter().filter(|_| keeps && !sent.retried) {
            let last = last.entry((sent.lane, place.epoch)).or_default();
            if place.position <= *last {
                verdict.note(Wrong::Disordered, || format!("event {number} at {place:?}, its sender's last at {last}"));
            }
            *last = place.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::population::Audience;

    /// The history of a run with one client, in which all events were sent to all.
    struct Scene {
        sent: Vec<Sent>,
        seen: Vec<Seen>,
    }

    fn welcome(epoch: u64, presented: Option<u64>) -> Seen {
        let presented = presented.map(|epoch| Place { epoch, position: 1 });
        let anew = presented.is_some_and(|presented| presented.epoch != epoch);
        let (at, place) = (Instant::now(), Place { epoch, position: 0 });
        Seen::Welcome { at, resumed: presented.is_some() && !anew, anew, place, presented }
    }

    fn event(number: usize, epoch: u64) -> Seen {
        Seen::Event { at: Instant::now(), number, place: Place { epoch, position: 10 + number as u64 } }
    }

    impl Scene {
        fn new(outcomes: &[Outcome]) -> Self {
            let now = Instant::now();
            let sent = outcomes.iter().map(|outcome| Sent {
                lane: 0,
                audience: Audience::All,
                begun: now,
                ended: now,
                outcome: *outcome,
                retried: false,
            });
            Self { sent: sent.collect(), seen: vec![welcome(1, None)] }
        }

        fn judge(mut self, seen: impl IntoIterator<Item = Seen>) -> Verdict {
            self.seen.extend(seen);
            judge(&self.sent, &Population::new(1, false), &[self.seen], true)
        }
    }

    fn three() -> Scene {
        Scene::new(&[Outcome::Ok(Some(10)), Outcome::Ok(Some(11)), Outcome::Ok(Some(12))])
    }

    #[test]
    fn exact_deliveries_hold() {
        let verdict = three().judge([event(0, 1), event(1, 1), welcome(1, Some(1)), event(2, 1)]);
        assert!(verdict.holds(true), "{verdict:?}");
        assert_eq!((verdict.ok, verdict.delivered), (3, 3));
    }

    #[test]
    fn each_violation_is_noticed() {
        for (wrong, seen) in [
            (Wrong::Silent, vec![event(0, 1), event(2, 1)]),
            (Wrong::Doubled, vec![event(0, 1), event(1, 1), event(1, 1), event(2, 1)]),
            (Wrong::Disordered, vec![event(1, 1), event(0, 1), event(2, 1)]),
            (Wrong::Stray, vec![event(0, 1), event(1, 1), event(2, 1), event(3, 1)]),
            (Wrong::Life, vec![event(0, 1), event(1, 2), event(2, 1)]),
            (Wrong::Lost, vec![event(0, 1), Seen::Lost, event(1, 1), event(2, 1)]),
        ] {
            let verdict = three().judge(seen);
            assert_eq!(verdict.wrong.keys().collect::<Vec<_>>(), [&wrong], "{verdict:?}");
        }
        let refused = Scene::new(&[Outcome::Refused]).judge([event(0, 1)]);
        assert_eq!(refused.count(Wrong::Refused), 1);
        let misplaced = Scene::new(&[Outcome::Ok(Some(9))]).judge([event(0, 1)]);
        assert_eq!(misplaced.count(Wrong::Life), 1);
    }

    #[test]
    fn notified_loss_holds_only_where_the_log_may_be_lost() {
        let verdict = three().judge([event(0, 1), welcome(2, Some(1)), event(2, 2)]);
        assert!(verdict.holds(false) && !verdict.holds(true), "{verdict:?}");
        assert_eq!((verdict.notified, verdict.anew), (1, 1));
        let mut later = three();
        later.seen.push(welcome(2, Some(1)));
        later.sent[2].begun = Instant::now() + std::time::Duration::from_secs(1);
        assert_eq!(later.judge([]).count(Wrong::Silent), 1, "sent after the client was notified");
    }

    #[test]
    fn cursor_of_the_old_life_must_not_be_resumed_in_the_new_one() {
        let mut resumed = welcome(2, Some(1));
        if let Seen::Welcome { resumed, anew, .. } = &mut resumed {
            (*resumed, *anew) = (true, false);
        }
        let verdict = three().judge([event(0, 1), resumed, event(1, 2), event(2, 2)]);
        assert_eq!(verdict.count(Wrong::Life), 1, "{verdict:?}");
    }

    #[test]
    fn unknown_outcome_is_one_delivery_or_none_in_each_life() {
        let scene = || Scene::new(&[Outcome::Unknown]);
        assert!(scene().judge([]).holds(true));
        assert!(scene().judge([event(0, 1)]).holds(true));
        assert!(scene().judge([event(0, 1), welcome(2, Some(1)), event(0, 2)]).holds(false));
        assert_eq!(scene().judge([event(0, 1), event(0, 1)]).count(Wrong::Doubled), 1);
    }
}
