use std::path::Path;

use realtime_core::EventId;
use realtime_core::spi::{AppendError, Backplane, LogState, Position};
use realtime_testkit::in_time;

use crate::server::Server;
use crate::support::{
    append, append_until_ok, batch, connect, entries, key, record, state, state_again, text, texts, timed_append,
};

/// Expects that a log noticed its loss: a new epoch and key, the same for all, and none of the old
/// epoch's records is appended.
async fn assert_new_life(log: &realtime_redis::RedisBackplane, old: &LogState, id: EventId) {
    let new = log.renew(old.epoch, old.last, id).await.unwrap();
    assert!(new.epoch != old.epoch && new.key != old.key);
    assert_eq!(log.renew(old.epoch, old.last, id).await.unwrap(), new, "a second renewal");
    let refused = timed_append(log, old.epoch, "of the old epoch").await;
    assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
    append(log, "of the new epoch").await;
    assert_eq!(texts(log).await.last().unwrap(), "of the new epoch");
}

#[tokio::test]
async fn flushed_log_gets_a_new_epoch() {
    let server = Server::start().await;
    let log = connect(&server).await;
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    let (old, id) = (state(&log).await, entries(&log).await[2].id);
    server.command("FLUSHALL").await;
    let refused = timed_append(&log, old.epoch, "too early").await;
    assert!(matches!(refused, Err(AppendError::Epoch)), "{refused:?}");
    assert_new_life(&log, &old, id).await;
    assert_eq!(texts(&log).await, ["of the new epoch"]);
}

#[tokio::test]
async fn server_that_returns_without_data_gets_a_new_epoch() {
    let mut server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let (old, id) = (state(&log).await, entries(&log).await[0].id);
    server.kill();
    std::fs::remove_dir_all(server.directory().join("appendonlydir")).unwrap();
    server.restart().await;
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
    server.command("DEL {realtime}:log").await;
    assert_new_life(&log, &old, id).await;
    assert_eq!(entries(&log).await[0].position, Position::new(4));
}

/// Copies the files of a directory's directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn rolled_back_log_gets_a_new_epoch_and_ends_its_tails() {
    let mut server = Server::start_synced().await;
    let (log, keyed) = (connect(&server).await, key(1, std::time::Duration::from_secs(60)));
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    server.kill();
    let (files, older) = (server.directory().join("appendonlydir"), server.directory().join("older"));
    copy(&files, &older);
    server.restart().await;
    let epoch = state_again(&log).await.epoch;
    for n in 4..=6 {
        append_until_ok(&log, epoch, &n.to_string()).await;
    }
    log.append(epoch, record("7"), Some(keyed)).await.unwrap();
    let (old, id) = (state(&log).await, entries(&log).await[6].id);
    let mut tail = log.tail(Position::new(6));
    assert_eq!(text(&batch(&mut tail).await.unwrap()[0]), "7");

    server.kill();
    std::fs::remove_dir_all(&files).unwrap();
    copy(&older, &files);
    server.restart().await;
    state_again(&log).await;
    // Another node can be faster than the one that notices the loss.
    for n in 4..=9 {
        append_until_ok(&log, epoch, &format!("other {n}")).await;
    }
    let mut later = log.tail(Position::new(7));
    let next = batch(&mut later).await.unwrap();
    assert_eq!(text(&next[0]), "other 8");
    let ended = batch(&mut tail).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_new_life(&log, &old, id).await;
    let epoch = state(&log).await.epoch;
    assert!(!log.append(epoch, record("7"), Some(keyed)).await.unwrap().repeated, "a key of the old epoch");
}

#[tokio::test]
async fn tail_does_not_go_on_in_a_log_that_lost_its_place() {
    let server = Server::start().await;
    let log = connect(&server).await;
    for n in 1..=3 {
        append(&log, &n.to_string()).await;
    }
    let mut tail = log.tail(Position::START);
    assert_eq!(batch(&mut tail).await.unwrap().len(), 3);
    // One that has returned nothing yet.
    let mut idle = log.tail(Position::new(3));
    let reading = tokio::spawn(async move { batch(&mut idle).await });
    until_blocked(&server).await;
    server.command("FLUSHALL").await;
    for n in 1..=5 {
        append(&log, &format!("other {n}")).await;
    }
    for ended in [batch(&mut tail).await, reading.await.unwrap()] {
        let ended = ended.expect_err("the end of the tail").to_string();
        assert!(ended.contains("lost records"), "{ended}");
    }
}

/// Waits until a reader waits for records.
async fn until_blocked(server: &Server) {
    let waiting = async {
        loop {
            let redis::Value::BulkString(info) = server.command("INFO clients").await else { panic!("expected text") };
            if String::from_utf8(info).unwrap().contains("blocked_clients:1") {
                return;
            }
        }
    };
    in_time("a reader that waits", waiting).await;
}
