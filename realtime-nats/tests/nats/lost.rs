use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{AppendError, Backplane, LogState, Position};
use realtime_nats::{NatsBackplane, NatsConfig};
use realtime_testkit::brokers::BrokerUnderTest;
use realtime_testkit::in_time;
use realtime_testkit::steps::{append, append_numbers, assert_new_epoch, batch, newest, state, texts, timed_append};

use crate::server::Server;
use crate::support::{connect, connect_with, log_stream};

realtime_testkit::broker_tests!(Server; lost);

/// Expects that a log noticed its loss, and that nothing of the old epoch is in the new one.
async fn assert_new_life(log: &NatsBackplane, old: &LogState, id: EventId) {
    assert_new_epoch(log, old, id).await;
    assert_eq!(texts(log).await, ["of the new epoch"]);
}

#[tokio::test]
async fn log_without_its_records_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    let mut tail = log.tail(Position::START);
    assert_eq!(batch(&mut tail).await.unwrap().len(), 3);
    let (old, id) = newest(&log).await;
    let stream = log_stream(&server).await;
    server.ask(&format!("STREAM.DELETE.{stream}"), "{}").await;
    let refused = timed_append(&log, old.epoch, "nowhere").await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
    assert_new_life(&log, &old, id).await;
    let ended = batch(&mut tail).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn new_epoch_begins_where_there_is_room_for_one_log() {
    let server = Server::start_with("jetstream { max_file_store: 16MB }").await;
    let log = connect_with(&server, NatsConfig::default().with_bytes(10_000_000)).await;
    append(&log, "1").await;
    let (old, id) = (state(&log).await, EventId::random());
    assert_new_life(&log, &old, id).await;
    log_stream(&server).await;
}

#[tokio::test]
async fn log_without_its_life_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let (old, id) = newest(&log).await;
    for change in ["", "{}", r#"{"format":1,"number":1,"epoch":"?","key":"?"}"#] {
        server.send("realtime.state.life", change).await;
        let new = state(&log).await;
        assert!(new.epoch != old.epoch && new.key != old.key, "{change}");
        assert_eq!(state(&log).await, new, "{change}");
    }
    server.ask("STREAM.DELETE.realtime_state", "{}").await;
    assert_new_life(&log, &old, id).await;
    log_stream(&server).await;
}

#[tokio::test]
async fn tail_beyond_the_end_returns_nothing_of_what_is_before() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let mut tail = log.tail(Position::new(5));
    let reading = tokio::spawn(async move { batch(&mut tail).await });
    let appending = async {
        while !reading.is_finished() {
            append(&log, "other").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("the end of the tail", appending).await;
    match reading.await.unwrap() {
        Ok(entries) => assert!(entries.iter().all(|entry| entry.position > Position::new(5)), "{entries:?}"),
        Err(error) => assert!(error.to_string().contains("lost records"), "{error}"),
    }
}
