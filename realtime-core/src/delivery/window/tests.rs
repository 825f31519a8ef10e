use std::time::Duration;

use bytes::Bytes;

use super::*;

/// A window with one event for each of these times, each of 90 bytes beside what a record costs.
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

/// Bytes of one of its records.
const SIZE: usize = RECORD_BYTES + 90;

#[test]
fn the_newest_quarter_is_known_by_age() {
    let begun = Instant::now();
    let config = WindowConfig::default().with_age(Duration::from_secs(100));
    let window = window(config, begun, &[0, 10, 20, 30]);
    let quarter = |second| window.quarter(begun + Duration::from_secs(second)).get();
    // Older than 25 s, and not as old as that.
    assert_eq!([25, 26, 35, 36, 45, 55, 56].map(quarter), [0, 1, 1, 2, 2, 3, 4]);
}

#[test]
fn the_newest_quarter_is_known_by_bytes() {
    let begun = Instant::now();
    for (records, expected) in [(3, 0), (4, 0), (5, 0), (6, 1), (9, 4)] {
        // Four records are a quarter; five are the fewest that are more.
        let config = WindowConfig::default().with_bytes(16 * SIZE + 1).with_age(Duration::from_secs(3600));
        let window = window(config, begun, &vec![0; records]);
        assert_eq!(window.size(), (records, records * SIZE));
        assert_eq!(window.quarter(begun).get(), expected, "{records}");
    }
}
