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

/// One with frames of these sizes in its lanes, in the queue from position 1 on.
fn filled(side: &[usize], queue: &[usize]) -> Outbox<Bytes> {
    let (bound, now) = (OutboxConfig::default().with_bytes(1 << 30), Instant::now());
    let outbox = live();
    for (size, n) in queue.iter().zip(1..) {
        outbox.push(at(n), &frame(*size), true, bound, now);
    }
    for size in side {
        outbox.push_side(frame(*size), false, bound, now);
    }
    outbox
}

#[test]
fn a_take_is_within_its_budget_but_at_least_one_frame() {
    for (side, queue, budget, sizes) in [
        (&[20, 30, 40][..], &[][..], 1, &[20][..]),
        (&[20, 30, 40], &[], 49, &[20]),
        (&[20, 30, 40], &[], 50, &[20, 30]),
        (&[20], &[15, 15], 50, &[20, 15, 15]),
        (&[20], &[15, 15], 49, &[20, 15]),
        (&[20], &[15, 15], 35, &[20, 15]),
        (&[20], &[15, 15], 34, &[20]),
        (&[], &[15, 15], 1, &[15]),
        (&[], &[15, 15, 2], 30, &[15, 15]),
        (&[], &[LARGE + 1, 2], LARGE + 2, &[LARGE + 1]),
        (&[], &[LARGE + 1, 2], LARGE + 3, &[LARGE + 1, 2]),
    ] {
        let outbox = filled(side, queue);
        let mut frames = Vec::new();
        let taken = outbox.lock().drain(budget, &mut frames, &mut Vec::new());
        assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), sizes, "{side:?} {queue:?} {budget}");
        assert_eq!(taken, sizes.iter().sum::<usize>());
        let all = side.iter().chain(queue);
        let standing = outbox.standing(Instant::now());
        assert_eq!(standing.queued_events, all.clone().count() - sizes.len());
        assert_eq!(standing.queued_bytes, all.sum::<usize>() - taken);
        // What the client knows its place to be: the newest of the queue that it took.
        let told = sizes.len().saturating_sub(side.len());
        assert_eq!(standing.told, at(told as u64));
    }
}

/// The time of what a take has left runs from that take, and none runs when it has left nothing.
#[tokio::test(start_paused = true)]
async fn what_a_take_leaves_waits_from_then_on() {
    for (side, queue, closed, waits) in [
        (&[20, 30][..], &[][..], false, true),
        (&[20], &[30], false, true),
        (&[], &[20, 30], false, true),
        (&[20], &[], true, true),
        (&[20], &[], false, false),
        (&[], &[20], false, false),
    ] {
        let outbox = filled(side, queue);
        if closed {
            outbox.close(CloseReason::NORMAL, Position::START);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        outbox.lock().drain(20, &mut Vec::new(), &mut Vec::new());
        tokio::time::advance(Duration::from_secs(3)).await;
        let waiting = outbox.standing(Instant::now()).waiting;
        assert_eq!(waiting, Duration::from_secs(if waits { 3 } else { 0 }), "{side:?} {queue:?} {closed}");
    }
}

#[test]
fn large_records_are_noted_with_the_frame_that_they_are() {
    let outbox = filled(&[20, LARGE + 1], &[5, LARGE, LARGE + 1, 7, LARGE + 2]);
    let now = Instant::now();
    // A question's record tells no place, so nobody can come back to before it.
    outbox.push(at(6), &frame(LARGE + 3), false, OutboxConfig::default().with_bytes(1 << 30), now);
    let mut large = Vec::new();
    outbox.lock().drain(usize::MAX, &mut Vec::new(), &mut large);
    let [first, second] = [(4, 3, LARGE + 1), (6, 5, LARGE + 2)].map(|(at, position, size)| Large {
        at,
        position: Position::new(position),
        size,
    });
    assert_eq!(large, [first, second]);
    assert_eq!(outbox.standing(now).queued_bytes, 0);
}

#[test]
fn the_side_lane_may_be_full_by_bytes_or_frames() {
    let bound = OutboxConfig::default().with_bytes(50).with_frames(3);
    let now = Instant::now();
    for (sizes, last) in [
        (&[20, 30][..], Pushed::Queued),
        (&[20, 31], Pushed::Full),
        (&[51], Pushed::Queued),
        (&[1, 1, 1], Pushed::Queued),
        (&[1, 1, 1, 1], Pushed::Full),
    ] {
        let outbox = live();
        let pushes: Vec<_> = sizes.iter().map(|size| outbox.push_side(frame(*size), false, bound, now).0).collect();
        assert_eq!(pushes.last(), Some(&last), "{sizes:?}");
        assert!(pushes[..pushes.len() - 1].iter().all(|pushed| *pushed == Pushed::Queued), "{sizes:?}");
    }
}

#[test]
fn what_is_handed_to_the_wire_is_counted() {
    let outbox = live();
    outbox.lock().count_out(3, 40);
    outbox.lock().count_out(2, 10);
    let counts = outbox.standing(Instant::now()).counts;
    assert_eq!((counts.events_out, counts.bytes_out), (5, 50));
}

/// Most connections are idle most of the time, and the next frame is to lie where the last one did.
#[test]
fn the_room_of_a_burst_is_given_back_and_a_little_is_kept() {
    for (side, queue, kept) in [(4, 64, (true, true)), (5, 65, (false, false))] {
        let outbox = filled(&vec![1; side], &vec![1; queue]);
        let mut state = outbox.lock();
        state.side.shrink_to_fit();
        state.queue.shrink_to_fit();
        state.drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
        assert_eq!((state.side.capacity() == side, state.queue.capacity() == queue), kept);
        assert_eq!((state.side.capacity() == 0, state.queue.capacity() == 0), (!kept.0, !kept.1));
    }
}

/// A session that goes to sleep while something is left would not be woken for it.
#[test]
fn a_taker_rests_when_nothing_at_all_is_left() {
    let now = Instant::now();
    let rests = |outbox: &Outbox<Bytes>| outbox.lock().rest();
    assert!(rests(&filled(&[], &[])));
    assert!(!rests(&filled(&[1], &[])));
    assert!(!rests(&filled(&[], &[1])));
    assert!(!rests(&filled(&[1], &[1])));
    let closed = filled(&[], &[]);
    closed.close(CloseReason::NORMAL, Position::START);
    assert!(!rests(&closed));
    let behind = Outbox::new(Position::START, frame(7));
    behind.lock().drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
    assert!(!rests(&behind), "it reads the window");
    // And who rests is woken by the next push, once.
    let outbox = filled(&[], &[]);
    assert!(rests(&outbox));
    let bound = OutboxConfig::default();
    assert!(outbox.push(at(1), &frame(1), true, bound, now).1);
    assert!(!outbox.push(at(2), &frame(1), true, bound, now).1);
}

#[tokio::test]
async fn who_waits_for_room_is_told_by_the_take_that_makes_it() {
    let bound = OutboxConfig::default().with_bytes(50);
    let outbox = filled(&[50], &[]);
    assert!(!outbox.lock().is_room_wanted(), "nobody waits");
    let mut room = Box::pin(outbox.room(1, bound));
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    outbox.lock().drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
    assert!(outbox.lock().is_room_wanted());
    assert!(!outbox.lock().is_room_wanted(), "they ask again");
    outbox.make_room();
    room.await;
    outbox.room(50, bound).await;
}

#[test]
fn who_is_behind_and_closed_reads_up_to_the_last_call_and_no_further() {
    let outbox = filled(&[], &[]);
    assert!(outbox.lock().reads_on(at(9)), "not closed");
    outbox.close(CloseReason::NORMAL, at(5));
    assert_eq!([4, 5, 6].map(|place| outbox.lock().reads_on(at(place))), [true, false, false]);
}
