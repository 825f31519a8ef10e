use std::mem::{offset_of, size_of};

use bytes::Bytes;

use super::*;

const fn at(number: u64) -> Position {
    Position::new(number)
}

fn frame(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

/// One whose client has taken the welcome and is live.
fn live() -> Outbox<Bytes> {
    let outbox = Outbox::new(Position::START, frame(7));
    let mut state = outbox.lock();
    state.drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
    state.place = Place::Live(Position::START);
    state.rest();
    drop(state);
    outbox
}

#[test]
fn what_a_push_touches_lies_in_two_cache_lines() {
    let start = offset_of!(Outbox<Bytes>, state) + offset_of!(State<Bytes>, closed);
    assert!(start / 64 + 2 >= size_of::<Outbox<Bytes>>() / 64, "{start} of {}", size_of::<Outbox<Bytes>>());
}

#[test]
fn a_queue_may_be_full_by_bytes_to_the_last_one() {
    let bound = OutboxConfig::default().with_bytes(12);
    let now = Instant::now();
    for (sizes, last) in
        [([5, 4, 3], Pushed::Queued), ([5, 4, 4], Pushed::TurnedBehind), ([4, 4, 50], Pushed::TurnedBehind)]
    {
        let outbox = live();
        let pushes = sizes.iter().zip(1..).map(|(size, n)| outbox.push(at(n), &frame(*size), true, bound, now).0);
        assert_eq!(pushes.collect::<Vec<_>>(), [Pushed::Queued, Pushed::Queued, last], "{sizes:?}");
        assert_eq!(outbox.is_behind(), last == Pushed::TurnedBehind);
    }
    // An event larger than the bound passes an empty queue.
    assert_eq!(live().push(at(1), &frame(50), true, bound, now).0, Pushed::Queued);
}

#[test]
fn what_waits_is_counted_over_both_lanes() {
    let (bound, now) = (OutboxConfig::default(), Instant::now());
    let outbox = live();
    assert_eq!((outbox.standing(now).queued_events, outbox.standing(now).queued_bytes), (0, 0));
    outbox.push_cursor(at(3), frame(5), now);
    assert_eq!((outbox.standing(now).queued_events, outbox.standing(now).queued_bytes), (1, 5));
    outbox.push(at(4), &frame(6), true, bound, now);
    for size in [20, 30, 40] {
        outbox.push_side(frame(size), false, bound, now);
    }
    let standing = outbox.standing(now);
    assert_eq!((standing.queued_events, standing.queued_bytes), (5, 101));
    outbox.clear();
    let standing = outbox.standing(now + Duration::from_secs(9));
    assert_eq!((standing.queued_events, standing.queued_bytes, standing.waiting), (0, 0, Duration::ZERO));
}

#[test]
fn progress_begins_the_time_of_what_waits_anew() {
    let (bound, begun) = (OutboxConfig::default(), Instant::now());
    let after = |seconds| begun + Duration::from_secs(seconds);
    let outbox = live();
    outbox.push(at(1), &frame(1), true, bound, begun);
    assert_eq!(outbox.standing(after(9)).waiting, Duration::from_secs(9));
    outbox.progressed(after(6));
    assert_eq!(outbox.standing(after(9)).waiting, Duration::from_secs(3));
    assert!(!outbox.has_stalled(after(9), Duration::from_secs(3)));
    assert!(outbox.has_stalled(after(10), Duration::from_secs(3)));
}
