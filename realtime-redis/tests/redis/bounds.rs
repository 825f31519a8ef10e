use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{Backplane, Position, Record};
use realtime_redis::RedisConfig;
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_record, entries, key, record, state, texts};

use crate::server::Server;
use crate::support::connect_with;

realtime_testkit::broker_tests!(Server; bounds);

#[tokio::test]
async fn log_keeps_as_many_bytes_and_a_larger_record_alone() {
    let server = Server::start().await;
    let size = record(&"x".repeat(1000)).bytes().len();
    let log = connect_with(&server, RedisConfig::default().with_bytes(3 * size)).await;
    for n in 1..=5 {
        append(&log, &"x".repeat(1000)).await;
        assert_eq!(entries(&log).await.len(), n.min(3));
    }
    append(&log, &"x".repeat(4 * size)).await;
    assert_eq!(entries(&log).await.len(), 1);
    append(&log, &"x".repeat(1000)).await;
    assert_eq!(entries(&log).await.len(), 1);
    append(&log, &"x".repeat(1000)).await;
    assert_eq!(entries(&log).await.len(), 2);
}

#[tokio::test]
async fn size_is_that_of_the_records_that_are_kept() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default().with_records(3)).await;
    let empty = log.size().await.unwrap().unwrap();
    assert_eq!((empty.records, empty.bytes, empty.age), (0, 0, None));
    for _ in 0..5 {
        append(&log, "xyz").await;
    }
    let size = log.size().await.unwrap().unwrap();
    assert_eq!((size.records, size.bytes), (3, 3 * record("xyz").bytes().len() as u64));
    assert!(size.age.unwrap() < Duration::from_secs(30), "{size:?}");
}

#[tokio::test]
async fn old_records_are_dropped_and_the_newest_stays() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default().with_age(Duration::from_millis(200))).await;
    for n in 1..=100 {
        append(&log, &n.to_string()).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    append(&log, "new").await;
    assert_eq!(texts(&log).await, ["new"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(state(&log).await.last, Position::new(101));
    assert_eq!(texts(&log).await, ["new"]);
}

#[tokio::test]
async fn old_records_and_keys_are_dropped_while_nothing_is_appended() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default().with_age(Duration::from_secs(1))).await;
    let joined = std::sync::Arc::new(Record::of_join(EventId::random(), "ann", None, "board"));
    append_record(&log, joined, None).await.unwrap();
    for number in 0..100 {
        append_record(&log, record("keyed"), Some(key(number, Duration::from_millis(500)))).await.unwrap();
    }
    let before = log.rooms(Position::new(1)).await.unwrap();
    let dropped = async {
        while entries(&log).await.len() > 1
            || server.command("LLEN {realtime}:order").await != redis::Value::Int(0)
            || server.command("HLEN {realtime}:keys").await != redis::Value::Int(0)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("a log with one record and no key", dropped).await;
    let kept = state(&log).await;
    assert_eq!((kept.last, kept.start), (Position::new(101), Position::new(100)));
    assert_eq!(log.rooms(Position::START).await.unwrap(), before);
    assert!(before.user("ann").is_some());
    append(&log, "next").await;
    assert_eq!(state(&log).await.last, Position::new(102));
}

#[tokio::test]
async fn expired_key_behind_a_valid_one_starts_again() {
    let server = Server::start().await;
    let log = connect_with(&server, RedisConfig::default()).await;
    let short = key(2, Duration::from_millis(50));
    append_record(&log, record("keyed"), Some(key(1, Duration::from_secs(60)))).await.unwrap();
    append_record(&log, record("keyed"), Some(short)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!append_record(&log, record("keyed"), Some(short)).await.unwrap().repeated);
    assert_eq!(server.command("LLEN {realtime}:order").await, redis::Value::Int(2));
    tokio::time::sleep(Duration::from_millis(100)).await;
    append_record(&log, record("keyed"), Some(key(3, Duration::from_secs(60)))).await.unwrap();
    assert!(append_record(&log, record("keyed"), Some(key(1, Duration::from_secs(60)))).await.unwrap().repeated);
}
