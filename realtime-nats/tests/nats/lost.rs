use std::path::Path;

use realtime_core::EventId;
use realtime_core::spi::{AppendError, Backplane, LogState, Position};
use realtime_nats::NatsConfig;
use realtime_testkit::in_time;

use crate::server::Server;
use crate::support::{
    append, append_until_ok, batch, connect, connect_with, entries, key, log_stream, record, state, state_again, text,
    texts, timed_append,
};

/// Expects that a log noticed its loss: a new epoch and key, the same for all, and none of the old
/// epoch's records is appended.
async fn assert_new_life(log: &realtime_nats::NatsBackplane, old: &LogState, id: EventId) {
    let new = log.renew(old.epoch, old.last, id).await.unwrap();
    assert!(new.epoch != old.epoch && new.key != old.key);
    assert_eq!(log.renew(old.epoch, old.last, id).await.unwrap(), new, "a second renewal");
    let refused = timed_append(log, old.epoch, "of the old epoch").await;
    assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
    append(log, "of the new epoch").await;
    assert_eq!(texts(log).await, ["of the new epoch"]);
}

#[tokio::test]
async fn server_that_returns_without_data_gets_a_new_epoch() {
    let mut server = Server::start().await;
    let log = connect(&server).await;
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    let (old, id) = (state(&log).await, entries(&log).await[2].id);
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    server.restart().await;
    let early = async {
        loop {
            match timed_append(&log, old.epoch, "too early").await {
                Err(AppendError::Epoch) => return,
                Err(AppendError::Refused(_) | AppendError::Unknown(_)) => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                other => panic!("expected no append in the old epoch, got {other:?}"),
            }
        }
    };
    in_time("a log without the old epoch", early).await;
    state_again(&log).await;
    assert_new_life(&log, &old, id).await;
}

#[tokio::test]
async fn log_without_its_records_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    let (old, id) = (state(&log).await, entries(&log).await[2].id);
    let mut tail = log.tail(Position::START);
    assert_eq!(batch(&mut tail).await.unwrap().len(), 3);
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
    let (old, id) = (state(&log).await, realtime_core::EventId::random());
    assert_new_life(&log, &old, id).await;
    log_stream(&server).await;
}

#[tokio::test]
async fn log_without_its_life_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let (old, id) = (state(&log).await, entries(&log).await[0].id);
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

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn rolled_back_log_gets_a_new_epoch_and_ends_its_tails() {
    let mut server = Server::start().await;
    let (log, keyed) = (connect(&server).await, key(1, std::time::Duration::from_secs(60)));
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    server.kill();
    let older = server.directory().join("older");
    copy(&server.store(), &older);
    server.restart().await;
    let epoch = state_again(&log).await.epoch;
    for n in 4..=6 {
        append_until_ok(&log, epoch, &n.to_string()).await;
    }
    log.append(epoch, record("7"), Some(keyed)).await.unwrap();
    let (old, id) = (state(&log).await, entries(&log).await.last().unwrap().id);
    let mut tail = log.tail(old.last.previous());
    assert_eq!(text(&batch(&mut tail).await.unwrap()[0]), "7");

    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    copy(&older, &server.store());
    server.restart().await;
    state_again(&log).await;
    // Another node can be faster than the one that notices the loss.
    while state_again(&log).await.last <= old.last {
        append_until_ok(&log, epoch, "other").await;
    }
    let ended = batch(&mut tail).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_new_life(&log, &old, id).await;
    let epoch = state(&log).await.epoch;
    assert!(!log.append(epoch, record("7"), Some(keyed)).await.unwrap().repeated, "a key of the old epoch");
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
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    in_time("the end of the tail", appending).await;
    match reading.await.unwrap() {
        Ok(entries) => assert!(entries.iter().all(|entry| entry.position > Position::new(5)), "{entries:?}"),
        Err(error) => assert!(error.to_string().contains("lost records"), "{error}"),
    }
}
