use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::*;
use crate::admission::limits::Admission;
use crate::delivery::connection::{Connection, Opening, Resources};
use crate::delivery::cuts::{LARGE, Large};
use crate::delivery::hub::Hub;
use crate::delivery::outbox::Outbox;
use crate::delivery::pass::Pass;
use crate::traits::outlet::SessionOutlet;
use crate::values::config::{Limits, OutboxConfig};
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::cursor::Epoch;
use crate::values::event_id::EventId;
use crate::values::stamp::AtomicStamp;

/// Returns a window with one event for each of these times, each of 90 bytes in addition to a
/// record's bookkeeping.
fn window(config: WindowConfig, begun: Instant, seconds: &[u64]) -> Window<Bytes> {
    let window = Window::new(config);
    for (second, number) in seconds.iter().zip(1..) {
        let frame = Bytes::from(vec![b'x'; 90]);
        window.append(Record {
            position: Position::new(number),
            mark: Mark::NONE,
            content: Content::Event { target: Target::all(), frame, kind: Kind::Event },
            seen: begun + Duration::from_secs(*second),
        });
    }
    window
}

/// The size of one of its records, in bytes.
const SIZE: usize = RECORD_BYTES + 90;

#[test]
fn newest_quarter_is_bounded_by_age() {
    let begun = Instant::now();
    let config = WindowConfig::default().with_age(Duration::from_secs(100));
    let window = window(config, begun, &[0, 10, 20, 30]);
    let quarter = |second| window.quarter(begun + Duration::from_secs(second)).get();
    // Older than 25 s, and not as old as that.
    assert_eq!([25, 26, 35, 36, 45, 55, 56].map(quarter), [0, 1, 1, 2, 2, 3, 4]);
}

#[test]
fn newest_quarter_is_bounded_by_bytes() {
    let begun = Instant::now();
    for (records, expected) in [(3, 0), (4, 0), (5, 0), (6, 1), (9, 4)] {
        // Four records are a quarter; five are the fewest that are more.
        let config = WindowConfig::default().with_bytes(16 * SIZE + 1).with_age(Duration::from_secs(3600));
        let window = window(config, begun, &vec![0; records]);
        assert_eq!(window.size(), (records, records * SIZE));
        assert_eq!(window.quarter(begun).get(), expected, "{records}");
    }
}

#[test]
fn each_bound_holds_to_the_last_record() {
    let begun = Instant::now();
    let many = WindowConfig::default().with_age(Duration::from_secs(100));
    let kept = |config: WindowConfig, seconds: &[u64]| window(config, begun, seconds).size().0;
    assert_eq!([3, 4, 5].map(|records| kept(many.with_records(4), &vec![0; records])), [3, 4, 4]);
    assert_eq!([3, 4, 5].map(|records| kept(many.with_bytes(4 * SIZE), &vec![0; records])), [3, 4, 4]);
    assert_eq!([4, 5].map(|records| kept(many.with_bytes(4 * SIZE - 1), &vec![0; records])), [3, 3]);
    assert_eq!(kept(many.with_bytes(1), &[0, 0]), 1, "the newest stays whatever its size");
    // As old as it may be, and older.
    assert_eq!([100, 101].map(|second| kept(many, &[0, second])), [2, 1]);
    let window = window(many, begun, &[0, 50]);
    for (second, records) in [(100, 2), (101, 1), (150, 1), (151, 0)] {
        window.expire(begun + Duration::from_secs(second));
        assert_eq!(window.size(), (records, records * SIZE), "{second}");
    }
    assert_eq!(window.start(), Position::new(2));
}

#[test]
fn marks_are_known_from_the_start_to_the_end() {
    let window = window(WindowConfig::default().with_records(3), Instant::now(), &[0; 5]);
    let marks = (0..7).map(|number| window.mark(Position::new(number)).is_some()).collect::<Vec<_>>();
    // The start has a mark too.
    assert_eq!(marks, [false, false, true, true, true, true, false]);
    assert_eq!((window.read_lock().end(), window.start()), (Position::new(5), Position::new(2)));
    window.restart(Position::new(9), Mark::NONE);
    assert_eq!((window.size(), window.read_lock().end()), ((0, 0), Position::new(9)));
    assert_eq!([8, 9, 10].map(|number| window.mark(Position::new(number)).is_some()), [false, true, false]);
}

#[test]
fn reader_resumes_after_the_oldest_quarter_and_up_to_an_eighth() {
    let window = window(WindowConfig::default().with_records(16), Instant::now(), &[0; 20]);
    let inner = window.read_lock();
    let positions = (0..5).map(|losses| inner.well_inside(losses).0.get()).collect::<Vec<_>>();
    assert_eq!(positions, [8, 9, 10, 8, 9], "from the start at 4");
}

/// The mark of the record at that position, even when it was the last one to leave.
#[test]
fn reader_that_lost_its_position_gets_the_mark_of_the_new_one() {
    for (records, position) in [(3, 7), (4, 7), (8, 4)] {
        let window = Window::new(WindowConfig::default().with_records(records));
        let marks: Vec<_> = (0..10).map(|_| append(&window, 10, Kind::Event)).collect();
        let expected = (Position::new(position), marks[position as usize - 1]);
        assert_eq!(window.read_lock().well_inside(0), expected, "{records}");
    }
}

#[test]
fn dropped_records_leave_no_index_entries() {
    let window = Window::<Bytes>::new(WindowConfig::default().with_records(1));
    let series = Arc::new(Series { target: Target::user("ann"), key: "k".into() });
    let event = |number, target, kind| Record {
        position: Position::new(number),
        mark: Mark::NONE,
        content: Content::Event { target, frame: Bytes::new(), kind },
        seen: Instant::now(),
    };
    window.append(event(1, Target::user("ann"), Kind::Latest(Arc::clone(&series))));
    assert_eq!((window.read_lock().index.len(), window.read_lock().latest.len()), (1, 1));
    window.append(event(2, Target::user("ann"), Kind::Latest(series)));
    assert_eq!((window.read_lock().index.len(), window.read_lock().latest.len()), (1, 1));
    window.append(event(3, Target::all(), Kind::Event));
    assert_eq!((window.read_lock().index.len(), window.read_lock().latest.len()), (1, 0));
    cut(&window, 3);
    let passes_over = || window.read_lock().cuts.passes_over(Position::new(3), LARGE + 1, &Identity::user("ann"));
    assert!(passes_over());
    // Not indexed: no reader finds a record for one connection by its target.
    let connection = Target::connection(ConnectionId::random());
    window.append(event(4, connection, Kind::Event));
    assert_eq!(window.read_lock().index.len(), 0);
    assert!(!passes_over());
}

/// A record for other providers takes nothing of this one's window but a position, and positions
/// have a bound too.
#[test]
fn records_for_others_do_not_displace_own_records() {
    let window = Window::<Bytes>::new(WindowConfig::default().with_records(10));
    let append = |number, content| {
        window.append(Record { position: Position::new(number), mark: Mark::NONE, content, seen: Instant::now() });
    };
    for number in 1..=10 {
        append(number, Content::Event { target: Target::all(), frame: Bytes::new(), kind: Kind::Event });
    }
    for number in 11..=80 {
        append(number, Content::Passed);
    }
    assert_eq!((window.size(), window.start()), ((10, 10 * RECORD_BYTES), Position::START));
    assert!(window.mark(Position::new(80)).is_some(), "a position that a client may have from another provider");
    append(81, Content::Passed);
    assert_eq!((window.size().0, window.start()), (9, Position::new(1)));
    for number in 82..=90 {
        append(number, Content::Passed);
    }
    assert_eq!((window.size(), window.start()), ((0, 0), Position::new(10)));
    append(91, Content::Nothing);
    assert_eq!(window.size(), (1, RECORD_BYTES));
}

/// Returns the visibility of a connection of ann's that was registered at one position of a log
/// that ends at another.
fn visibility(registered_at: u64, end: u64) -> Visibility {
    let (hub, identity) = (Hub::<Bytes>::new(OutboxConfig::default()), Identity::user("ann"));
    let ticket = Admission::new(Limits::default()).admit(&identity, None).unwrap();
    hub.skip(Position::new(registered_at));
    let (connection, _) = hub.register(&identity.clone(), &[], |applied, _| {
        let connection = Connection {
            credentials: None,
            info: ConnectionInfo::new("test", identity),
            former: None,
            connected_at: Instant::now(),
            registered_at: applied,
            opening: Opening { at: SystemTime::now(), epoch: Epoch::new(7), from: applied, reason: "new" },
            reconnect_sent: AtomicBool::new(false),
            outbox: Outbox::new(applied, Bytes::new()),
            inbox: OnceLock::new(),
            meter: OnceLock::new(),
            data: OnceLock::new(),
            in_flight: Mutex::default(),
            unwritten: AtomicStamp::default(),
            resources: Mutex::new(Some(Resources { ticket, _task: TaskTracker::new().token(), hooks: None })),
            fault: OnceLock::new(),
            span: tracing::Span::none(),
            outlet: Arc::new(SessionOutlet::new()),
        };
        (connection, applied)
    });
    hub.skip(Position::new(end));
    hub.visibility(&connection)
}

/// Appends an event of this size for everyone, and returns its mark.
fn append(window: &Window<Bytes>, size: usize, kind: Kind) -> Mark {
    let mark = Mark::of(EventId::random());
    let frame = Bytes::from(vec![b'x'; size]);
    let content = Content::Event { target: Target::all(), frame, kind };
    let position = window.read_lock().end().next();
    window.append(Record { position, mark, content, seen: Instant::now() });
    mark
}

/// Reads everything after this position; returns the result and the sizes of the frames.
fn read(window: &Window<Bytes>, position: u64) -> (Read, Vec<usize>) {
    let mut frames = Vec::new();
    let visibility = visibility(0, window.read_lock().end().get());
    let read = window.read(Position::new(position), &visibility, (&mut Pass::new(), 0), usize::MAX, &mut frames);
    (read, frames.iter().map(Bytes::len).collect())
}

/// Counts so many of ann's connections as lost within this record that it is passed over.
fn cut(window: &Window<Bytes>, position: u64) {
    for _ in 0..3 {
        window.count_cut(Position::new(position), &Identity::user("ann"));
    }
}

/// Only large events can be passed over, and asks never are: anything else that is kept of a
/// connection would displace them.
#[test]
fn read_reports_large_events_only() {
    let window = Window::new(WindowConfig::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    append(&window, 10, Kind::Event);
    append(&window, LARGE, Kind::Event);
    append(&window, LARGE + 1, Kind::Ask(deadline));
    append(&window, LARGE + 1, Kind::Event);
    append(&window, LARGE + 2, Kind::Event);
    let (read, sizes) = read(&window, 0);
    assert_eq!(sizes, [10, LARGE, LARGE + 1, LARGE + 1, LARGE + 2]);
    let large = [(3, 4, LARGE + 1), (4, 5, LARGE + 2)];
    let large = large.map(|(at, number, size)| Large { at, position: Position::new(number), size });
    assert_eq!(read.large, large);
}

#[test]
fn ask_is_read_by_earlier_connections_until_its_deadline() {
    let window = Window::new(WindowConfig::default());
    let (now, minute) = (Instant::now(), Duration::from_secs(60));
    for (size, deadline) in [(1, now + minute), (2, now - minute), (3, now + minute)] {
        append(&window, size, Kind::Ask(deadline));
    }
    for (registered_at, expected) in [(0, vec![1, 3]), (1, vec![3]), (3, vec![])] {
        let mut frames = Vec::new();
        let read =
            window.read(Position::START, &visibility(registered_at, 3), (&mut Pass::new(), 0), usize::MAX, &mut frames);
        assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), expected, "registered at {registered_at}");
        assert_eq!((read.position, read.last_cursor), (Position::new(3), None), "asks carry no cursor");
    }
}

/// Checks that a record that is passed over is alone in its read: its `lost` goes out in front of
/// the read's frames, so that behind other records it would arrive before them.
#[test]
fn record_that_is_passed_over_is_alone_in_its_read() {
    let window = Window::new(WindowConfig::default());
    let marks = [10, LARGE + 1, 20].map(|size| append(&window, size, Kind::Event));
    // Small ones never are.
    cut(&window, 1);
    cut(&window, 2);
    for (position, expected) in [(0, vec![10]), (1, vec![]), (2, vec![20])] {
        let (read, sizes) = read(&window, position);
        let until = Position::new(position + 1);
        assert_eq!((read.position, read.last_cursor), (until, Some(until)));
        assert_eq!(read.passed_over, (position == 1).then_some((marks[1], LARGE + 1)));
        assert_eq!(sizes, expected);
    }
}

/// A read reports one loss: that of the reader's position comes first.
#[test]
fn lost_position_and_skipped_record_are_reported_apart() {
    let window = Window::new(WindowConfig::default().with_records(4));
    let marks = [10, 10, LARGE + 1, 10, 10].map(|size| append(&window, size, Kind::Event));
    cut(&window, 3);
    let (lost, sizes) = read(&window, 0);
    let inside = Position::new(2);
    assert_eq!((lost.lost_until, lost.position, lost.last_cursor), (Some((inside, marks[1])), inside, Some(inside)));
    assert_eq!((lost.passed_over, sizes), (None, vec![]));
    let (over, sizes) = read(&window, 2);
    assert_eq!((over.lost_until, over.position), (None, Position::new(3)));
    assert_eq!((over.passed_over, sizes), (Some((marks[2], LARGE + 1)), vec![]));
}

/// However a read ends: before or at a record that is passed over, or at the end of the log.
#[test]
fn each_read_counts_its_superseded_events() {
    let window = Window::new(WindowConfig::default());
    let series = Arc::new(Series { target: Target::all(), key: "k".into() });
    let latest = || Kind::Latest(Arc::clone(&series));
    for (size, kind) in [(1, latest()), (2, Kind::Event), (3, latest()), (LARGE + 1, Kind::Event), (5, latest())] {
        append(&window, size, kind);
    }
    append(&window, 6, Kind::Event);
    append(&window, 7, latest());
    cut(&window, 4);
    for (position, until, superseded, expected) in [(0, 3, 2, vec![2]), (2, 4, 1, vec![]), (4, 7, 1, vec![6, 7])] {
        let (read, sizes) = read(&window, position);
        assert_eq!((read.position, read.superseded, sizes), (Position::new(until), superseded, expected));
    }
}

#[test]
fn pass_is_halved_when_its_reader_loses_its_position() {
    let window = Window::new(WindowConfig::default().with_records(16));
    let mut pass = Pass::new();
    let mut read = |position, budget| {
        let visibility = visibility(0, window.read_lock().end().get());
        window.read(Position::new(position), &visibility, (&mut pass, 0), budget, &mut Vec::new()).position.get()
    };
    let more = || {
        for _ in 0..16 {
            append(&window, 10, Kind::Event);
        }
    };
    more();
    assert_eq!(read(0, 1), 1, "of 16");
    more();
    assert_eq!(read(1, usize::MAX), 28, "8 from the position 20");
}

/// The window may have moved on since the reader's end of the log was read.
#[test]
fn read_never_returns_before_what_it_reports_lost() {
    let window = window(WindowConfig::default().with_records(8), Instant::now(), &[0; 20]);
    let mut frames = Vec::new();
    let read = window.read(Position::new(1), &visibility(0, 3), (&mut Pass::new(), 0), usize::MAX, &mut frames);
    let inside = Position::new(14);
    assert_eq!((read.lost_until, read.position, read.last_cursor), (Some((inside, Mark::NONE)), inside, Some(inside)));
    assert!(frames.is_empty());
}
