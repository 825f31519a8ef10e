use std::mem::{offset_of, size_of};

use bytes::Bytes;

use super::*;

const fn at(number: u64) -> Position {
    Position::new(number)
}

fn frame(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

/// A live outbox whose client has taken the welcome.
fn live() -> Outbox<Bytes> {
    let outbox = Outbox::new(Position::START, frame(7));
    let mut state = outbox.lock();
    state.drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
    state.mode = Mode::Live(Position::START);
    state.rest();
    drop(state);
    outbox
}

#[test]
fn push_touches_two_cache_lines() {
    let start = offset_of!(Outbox<Bytes>, state) + offset_of!(State<Bytes>, closing);
    assert!(start / 64 + 2 >= size_of::<Outbox<Bytes>>() / 64, "{start} of {}", size_of::<Outbox<Bytes>>());
}

#[test]
fn queue_accepts_bytes_up_to_its_bound() {
    let bound = OutboxConfig::default().with_bytes(12);
    let now = Instant::now();
    for (sizes, last) in
        [([5, 4, 3], Pushed::Queued), ([5, 4, 4], Pushed::TurnedBehind), ([4, 4, 50], Pushed::TurnedBehind)]
    {
        let outbox = live();
        let pushes =
            sizes.iter().zip(1..).map(|(size, n)| outbox.push(at(n), &frame(*size), true, bound, now, Stamp::NONE).0);
        assert_eq!(pushes.collect::<Vec<_>>(), [Pushed::Queued, Pushed::Queued, last], "{sizes:?}");
        assert_eq!(outbox.snapshot(now).behind, last == Pushed::TurnedBehind);
    }
    // An empty queue accepts an event larger than the bound.
    assert_eq!(live().push(at(1), &frame(50), true, bound, now, Stamp::NONE).0, Pushed::Queued);
}

#[test]
fn snapshot_counts_both_lanes() {
    let (bound, now) = (OutboxConfig::default(), Instant::now());
    let outbox = live();
    assert_eq!((outbox.snapshot(now).queued_events, outbox.snapshot(now).queued_bytes), (0, 0));
    outbox.push_cursor(at(3), frame(5), now);
    assert_eq!((outbox.snapshot(now).queued_events, outbox.snapshot(now).queued_bytes), (1, 5));
    outbox.push(at(4), &frame(6), true, bound, now, Stamp::NONE);
    for size in [20, 30, 40] {
        outbox.push_side(frame(size), false, bound, now);
    }
    let snapshot = outbox.snapshot(now);
    assert_eq!((snapshot.queued_events, snapshot.queued_bytes), (5, 101));
    outbox.clear();
    let snapshot = outbox.snapshot(now + Duration::from_secs(9));
    assert_eq!((snapshot.queued_events, snapshot.queued_bytes, snapshot.waiting), (0, 0, Duration::ZERO));
}

#[test]
fn progress_restarts_the_waiting_clock() {
    let (bound, begun) = (OutboxConfig::default(), Instant::now());
    let after = |seconds| begun + Duration::from_secs(seconds);
    let outbox = live();
    outbox.push(at(1), &frame(1), true, bound, begun, Stamp::NONE);
    assert_eq!(outbox.snapshot(after(9)).waiting, Duration::from_secs(9));
    outbox.progressed(after(6));
    assert_eq!(outbox.snapshot(after(9)).waiting, Duration::from_secs(3));
    assert!(!outbox.has_stalled(after(9), Duration::from_secs(3)));
    assert!(outbox.has_stalled(after(10), Duration::from_secs(3)));
}

/// A live outbox with frames of these sizes in its lanes, in the queue from position 1 on.
fn filled(side: &[usize], queue: &[usize]) -> Outbox<Bytes> {
    let (bound, now) = (OutboxConfig::default().with_bytes(1 << 30), Instant::now());
    let outbox = live();
    for (size, n) in queue.iter().zip(1..) {
        outbox.push(at(n), &frame(*size), true, bound, now, Stamp::NONE);
    }
    for size in side {
        outbox.push_side(frame(*size), false, bound, now);
    }
    outbox
}

#[test]
fn take_stays_within_its_budget_but_has_one_frame() {
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
        let snapshot = outbox.snapshot(Instant::now());
        assert_eq!(snapshot.queued_events, all.clone().count() - sizes.len());
        assert_eq!(snapshot.queued_bytes, all.sum::<usize>() - taken);
        // The client's cursor is the newest of the queue that it took.
        let from_queue = sizes.len().saturating_sub(side.len());
        assert_eq!(snapshot.last_cursor, at(from_queue as u64));
    }
}

/// The waiting clock counts from the last take, and stops when that has left nothing.
#[tokio::test(start_paused = true)]
async fn leftover_frames_wait_since_the_last_take() {
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
        let waiting = outbox.snapshot(Instant::now()).waiting;
        assert_eq!(waiting, Duration::from_secs(if waits { 3 } else { 0 }), "{side:?} {queue:?} {closed}");
    }
}

#[test]
fn large_records_are_noted_with_their_frame_number() {
    let outbox = filled(&[20, LARGE + 1], &[5, LARGE, LARGE + 1, 7, LARGE + 2]);
    let now = Instant::now();
    // An ask carries no cursor, so no client can resume before it.
    outbox.push(at(6), &frame(LARGE + 3), false, OutboxConfig::default().with_bytes(1 << 30), now, Stamp::NONE);
    let mut large = Vec::new();
    outbox.lock().drain(usize::MAX, &mut Vec::new(), &mut large);
    let [first, second] = [(4, 3, LARGE + 1), (6, 5, LARGE + 2)].map(|(at, position, size)| Large {
        at,
        position: Position::new(position),
        size,
    });
    assert_eq!(large, [first, second]);
    assert_eq!(outbox.snapshot(now).queued_bytes, 0);
}

#[test]
fn side_lane_is_bounded_by_bytes_and_frames() {
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
fn frames_handed_to_the_session_are_counted() {
    let outbox = live();
    outbox.lock().count_out(3, 40);
    outbox.lock().count_out(2, 10);
    let counts = outbox.snapshot(Instant::now()).counts;
    assert_eq!((counts.events_out, counts.bytes_out), (5, 50));
}

/// Most connections are idle most of the time, and the next frame should lie where the last one
/// did.
#[test]
fn memory_of_a_burst_is_freed_and_a_little_is_kept() {
    for (side, queue, kept) in [(4, 64, (true, true)), (5, 65, (false, false))] {
        let outbox = filled(&vec![1; side], &vec![1; queue]);
        let mut state = outbox.lock();
        state.side.frames.shrink_to_fit();
        state.queue.frames.shrink_to_fit();
        state.drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
        let (side_kept, queue_kept) = (state.side.frames.capacity(), state.queue.frames.capacity());
        assert_eq!((side_kept == side, queue_kept == queue), kept);
        assert_eq!((side_kept == 0, queue_kept == 0), (!kept.0, !kept.1));
    }
}

/// A session that waits while something is left would not be woken for it.
#[test]
fn session_rests_only_when_nothing_is_left() {
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
    assert!(!rests(&behind), "reads the window");
    // The next push wakes a resting session, once.
    let outbox = filled(&[], &[]);
    assert!(rests(&outbox));
    let bound = OutboxConfig::default();
    assert!(outbox.push(at(1), &frame(1), true, bound, now, Stamp::NONE).1);
    assert!(!outbox.push(at(2), &frame(1), true, bound, now, Stamp::NONE).1);
}

#[tokio::test]
async fn take_that_makes_room_notifies_the_waiting_caller() {
    let bound = OutboxConfig::default().with_bytes(50);
    let outbox = filled(&[50], &[]);
    assert!(!outbox.lock().take_room_wanted(), "no caller waits");
    let mut room = Box::pin(outbox.room(1, bound));
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    outbox.lock().drain(usize::MAX, &mut Vec::new(), &mut Vec::new());
    assert!(outbox.lock().take_room_wanted());
    assert!(!outbox.lock().take_room_wanted(), "callers ask again");
    outbox.make_room();
    room.await;
    outbox.room(50, bound).await;
}

#[test]
fn closed_connection_reads_up_to_its_last_call_only() {
    let outbox = filled(&[], &[]);
    assert!(outbox.lock().reads_on(at(9)), "not closed");
    outbox.close(CloseReason::NORMAL, at(5));
    assert_eq!([4, 5, 6].map(|position| outbox.lock().reads_on(at(position))), [true, false, false]);
}
