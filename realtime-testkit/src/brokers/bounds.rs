//! The bounds of a log.

use std::time::Duration;

use realtime_core::spi::{Backplane, LogBounds, Position};

use super::{BrokerUnderTest, connect};
use crate::in_time;
use crate::steps::{append, append_record, entries, key, record, state, texts};

/// A log has as many records as its bound, and fewer once another node has a smaller bound.
pub async fn log_keeps_exactly_as_many_records<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = server.connect(LogBounds::default().with_records(5)).await;
    for n in 1..=20 {
        append(&log, &n.to_string()).await;
        let kept = state(&log).await;
        assert_eq!(kept.last.get() - kept.start.get(), n.min(5));
    }
    assert_eq!(texts(&log).await, ["16", "17", "18", "19", "20"]);
    let fewer = server.connect(LogBounds::default().with_records(1)).await;
    append(&fewer, "21").await;
    assert_eq!(texts(&log).await, ["21"]);
}

/// A log knows as many keys as its bound, and stores no more.
pub async fn oldest_of_too_many_keys_is_forgotten<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = server.connect(LogBounds::default().with_keys(2)).await;
    let long = Duration::from_secs(60);
    for number in 1..=3 {
        append_record(&log, record("keyed"), Some(key(number, long))).await.expect("appended");
    }
    for (number, known) in [(2, true), (3, true), (1, false)] {
        let answer = append_record(&log, record("keyed"), Some(key(number, long))).await.expect("appended");
        assert_eq!(answer.repeated, known, "key {number}");
    }
    assert_eq!(server.stored_keys().await, 2);
}

/// A range of more records than one request returns is complete.
pub async fn range_of_many_records_has_no_gap<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    for _ in 0..1_300 {
        in_time("an append", log.append(epoch, record("x"), None)).await.expect("appended");
    }
    let all = entries(&log).await;
    let positions: Vec<_> = all.iter().map(|entry| entry.position.get()).collect();
    assert_eq!(positions, (1..=1_300).collect::<Vec<_>>());
    assert_eq!(log.range(Position::new(100), 700).await.expect("a range"), all[100..800]);
    assert_eq!(log.range(Position::new(9_999), 700).await.expect("a range"), []);
}
