use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record};
use realtime_nats::NatsConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_numbers, append_record, entries, follow, key, record, state, texts};

use crate::server::Server;
use crate::support::{connect, connect_with};

realtime_testkit::broker_tests!(Server; bounds);

#[tokio::test]
async fn node_that_connects_sets_the_bounds() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    connect_with(&server, NatsConfig::default().with_records(1)).await;
    assert_eq!(texts(&log).await, ["3"]);
}

#[tokio::test]
async fn size_is_that_of_the_records_that_are_kept() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default().with_records(3)).await;
    let empty = log.size().await.unwrap().unwrap();
    assert_eq!((empty.records, empty.bytes, empty.age), (0, 0, None));
    for _ in 0..5 {
        append(&log, "xyz").await;
    }
    let size = log.size().await.unwrap().unwrap();
    assert!(size.records == 3 && size.bytes >= 3 * record("xyz").bytes().len() as u64, "{size:?}");
    assert!(size.age.unwrap() < Duration::from_secs(30), "{size:?}");
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
async fn range_of_large_records_has_all() {
    let server = Server::start().await;
    let log = connect_with(&server, NatsConfig::default()).await;
    for _ in 0..30 {
        append(&log, &"x".repeat(1_000_000)).await;
    }
    assert_eq!(entries(&log).await.len(), 30);
    assert_eq!(follow(&log, Position::START, 30).await.len(), 30);
}
