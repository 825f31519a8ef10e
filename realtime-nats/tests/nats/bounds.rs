use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record};
use realtime_nats::NatsConfig;
use realtime_testkit::in_time;

use crate::server::Server;
use crate::support::{append, append_record, connect_with, entries, key, record, state, texts};

#[tokio::test]
async fn log_keeps_exactly_as_many_records() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_records(5)).await;
    for n in 1..=20 {
        append(&log, &n.to_string()).await;
        let kept = state(&log).await;
        assert_eq!(kept.last.get() - kept.start.get(), n.min(5));
    }
    assert_eq!(texts(&log).await, ["16", "17", "18", "19", "20"]);
    connect_with(&server, NatsConfig::default().with_records(1)).await;
    assert_eq!(texts(&log).await, ["20"], "the bound of the node that connected last");
}

#[tokio::test]
async fn log_keeps_as_many_bytes_and_always_the_newest() {
    let server = Server::start_with("max_payload: 1MB\njetstream {}").await;
    let log = connect_with(&server, NatsConfig::default().with_bytes(1)).await;
    for _ in 1..=5 {
        append(&log, &"x".repeat(400_000)).await;
    }
    assert_eq!(entries(&log).await.len(), 2, "the largest message is the least that is kept");
    for _ in 1..=2 {
        append(&log, &"x".repeat(1_032_192 - 16)).await;
        assert_eq!(entries(&log).await.len(), 1);
    }
    assert_eq!(state(&log).await.last, Position::new(7));
}

#[tokio::test]
async fn old_records_are_dropped_and_the_newest_stays() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_age(Duration::from_secs(1))).await;
    let joined = std::sync::Arc::new(Record::of_join(EventId::random(), "ann", None, "board"));
    append_record(&log, joined, None).await.unwrap();
    for n in 2..=100 {
        append(&log, &n.to_string()).await;
    }
    let before = log.rooms(Position::new(1)).await.unwrap();
    let dropped = async {
        while entries(&log).await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("a log with one record", dropped).await;
    assert_eq!(texts(&log).await, ["100"]);
    let kept = state(&log).await;
    assert_eq!((kept.last, kept.start), (Position::new(100), Position::new(99)));
    assert_eq!(log.rooms(Position::START).await.unwrap(), before);
    assert!(before.user("ann").is_some());
    append(&log, "next").await;
    assert_eq!(state(&log).await.last, Position::new(101));
}

#[tokio::test]
async fn oldest_of_too_many_keys_is_forgotten() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_keys(2)).await;
    let long = Duration::from_secs(60);
    for number in 1..=3 {
        append_record(&log, record("keyed"), Some(key(number, long))).await.unwrap();
    }
    for (number, known) in [(2, true), (3, true), (1, false)] {
        let answer = append_record(&log, record("keyed"), Some(key(number, long))).await.unwrap();
        assert_eq!(answer.repeated, known, "key {number}");
    }
    assert_eq!(server.count("realtime_keys").await, 2);
}

#[tokio::test]
async fn expired_key_behind_a_valid_one_starts_again() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default()).await;
    let short = key(2, Duration::from_millis(50));
    let long = key(1, Duration::from_secs(1000));
    let first = append_record(&log, record("keyed"), Some(long)).await.unwrap();
    append_record(&log, record("keyed"), Some(short)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!append_record(&log, record("keyed"), Some(short)).await.unwrap().repeated);
    let again = append_record(&log, record("keyed"), Some(long)).await.unwrap();
    assert_eq!(again, first.as_repeated());
}

#[tokio::test]
async fn range_of_many_records_has_no_gap() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default()).await;
    let epoch = state(&log).await.epoch;
    for _ in 0..1_300 {
        in_time("an append", log.append(epoch, record("x"), None)).await.unwrap();
    }
    let all = entries(&log).await;
    let positions: Vec<_> = all.iter().map(|entry| entry.position.get()).collect();
    assert_eq!(positions, (1..=1_300).collect::<Vec<_>>());
    assert_eq!(log.range(Position::new(100), 700).await.unwrap(), all[100..800]);
    assert_eq!(log.range(Position::new(9_999), 700).await.unwrap(), []);
}

#[tokio::test]
async fn range_of_large_records_has_all() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default()).await;
    for _ in 0..30 {
        append(&log, &"x".repeat(1_000_000)).await;
    }
    assert_eq!(entries(&log).await.len(), 30);
    assert_eq!(crate::support::follow(&log, Position::START, 30).await.len(), 30);
}
