use super::*;
use crate::delivery::hub::user::User;

const TIMES: AbsenceTimes = AbsenceTimes { age: Duration::from_secs(60), answer: Duration::from_secs(10) };
const INSTANT: Duration = Duration::from_nanos(1);

fn joined(ours: bool, now: Instant) -> JoinedRooms {
    let mut joined = JoinedRooms::default();
    joined.join(&"r".into(), Position::new(1), Some(ours), now);
    joined
}

#[test]
fn absence_ends_rooms_after_its_time_and_is_announced_again() {
    for (ours, limit) in [(true, TIMES.age), (false, TIMES.age * PATIENCE)] {
        let start = Instant::now();
        let (mut joined, end) = (joined(ours, start), start + limit);
        assert_eq!(joined.absence(TIMES, end), None);
        assert_eq!(joined.absence(TIMES, end + INSTANT), Some(Absence::Unchecked), "ours: {ours}");
        joined.announce(end);
        assert_eq!(joined.absence(TIMES, end + ANNOUNCE_AGAIN), None);
        assert_eq!(joined.absence(TIMES, end + ANNOUNCE_AGAIN + INSTANT), Some(Absence::Unchecked));
        joined.end(Position::new(1), Position::new(2), end);
        assert_eq!(joined.absence(TIMES, end + limit * 10), None, "no rooms are left");
    }
}

#[test]
fn only_the_node_that_asked_ends_rooms_without_an_answer() {
    let start = Instant::now();
    let (mut asker, mut other) = (joined(true, start), joined(true, start));
    let asked = start + TIMES.age + INSTANT;
    asker.announce(asked);
    [&mut asker, &mut other].into_iter().for_each(|joined| joined.check(Position::new(5), asked));
    assert_eq!(asker.absence(TIMES, asked + TIMES.answer - INSTANT), None);
    let unanswered = Some(Absence::Unanswered(Position::new(5)));
    assert_eq!(asker.absence(TIMES, asked + TIMES.answer), unanswered);
    assert_eq!(other.absence(TIMES, asked + TIMES.answer), Some(Absence::Unchecked), "it may ask itself");
}

#[test]
fn answer_or_outage_restarts_the_absence() {
    let start = Instant::now();
    let asked = start + TIMES.age + INSTANT;
    let answered: [fn(&mut JoinedRooms, Instant); 2] =
        [|joined, now| joined.confirm(Position::new(6), TIMES.age, now), JoinedRooms::restart_absence];
    for answer in answered {
        let mut joined = joined(true, start);
        joined.announce(asked);
        joined.check(Position::new(5), asked);
        answer(&mut joined, asked);
        assert_eq!(joined.absence(TIMES, asked + TIMES.age), None);
        assert_eq!(joined.absence(TIMES, asked + TIMES.age * PATIENCE + INSTANT), Some(Absence::Unchecked));
    }
}

#[test]
fn node_that_saw_the_user_leave_lately_objects() {
    let start = Instant::now();
    let mut user = User::<bytes::Bytes>::default();
    user.bare = joined(true, start);
    let soon = start + TIMES.age;
    assert!(user.check(None, Position::new(5), TIMES.age, soon));
    user.confirm(None, Position::new(6), TIMES.age, soon);
    assert_eq!(user.bare.absence(TIMES, soon + INSTANT), Some(Absence::Unchecked), "it ends them in time");
    assert!(!user.check(None, Position::new(7), TIMES.age, soon + INSTANT));
    user.confirm(None, Position::new(8), TIMES.age, soon + INSTANT);
    assert_eq!(user.bare.absence(TIMES, soon + TIMES.age * 2), None);
}

#[test]
fn rooms_of_a_user_who_was_present_after_the_question_stay() {
    let now = Instant::now();
    let mut joined = joined(true, now);
    joined.confirm(Position::new(6), TIMES.age, now);
    assert!(joined.end(Position::new(5), Position::new(7), now).is_empty());
    assert_eq!(joined.end(Position::new(8), Position::new(9), now).len(), 1);
}
