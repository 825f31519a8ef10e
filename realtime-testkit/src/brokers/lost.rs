//! Servers that lose what they stored.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::spi::{AppendError, Backplane};

use super::{BrokerUnderTest, connect};
use crate::in_time;
use crate::steps::{
    append_numbers, append_until_ok, assert_new_epoch, batch, key, newest, record, state, state_again, text, texts,
    timed_append,
};

/// A server without its files has no epoch; appends of the old one are refused.
pub async fn server_that_returns_without_data_gets_a_new_epoch<B: BrokerUnderTest>() {
    let mut server = B::start().await;
    let log = connect(&server).await;
    append_numbers(&log, 3).await;
    let (old, id) = newest(&log).await;
    server.kill();
    std::fs::remove_dir_all(server.files()).expect("files that can be removed");
    server.restart().await;
    let early = async {
        loop {
            match timed_append(&log, old.epoch, "too early").await {
                Err(AppendError::Epoch) => return,
                Err(AppendError::Refused(_) | AppendError::Unknown(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => panic!("expected no append in the old epoch, got {other:?}"),
            }
        }
    };
    in_time("a log without the old epoch", early).await;
    state_again(&log).await;
    assert_new_epoch(&log, &old, id).await;
    assert_eq!(texts(&log).await, ["of the new epoch"]);
}

/// A log with the files of an earlier moment, which has grown again before anyone noticed.
pub async fn rolled_back_log_gets_a_new_epoch_and_ends_its_tails<B: BrokerUnderTest>() {
    let mut server = B::start_synced().await;
    let (log, keyed) = (connect(&server).await, key(1, Duration::from_secs(60)));
    append_numbers(&log, 3).await;
    server.kill();
    let (files, older) = (server.files(), server.files().with_file_name("older"));
    copy(&files, &older);
    server.restart().await;
    let epoch = state_again(&log).await.epoch;
    for n in 4..=6 {
        append_until_ok(&log, epoch, &n.to_string()).await;
    }
    log.append(epoch, record("7"), Some(keyed)).await.expect("appended");
    let (old, id) = newest(&log).await;
    let mut tail = log.tail(old.last.previous());
    assert_eq!(text(&batch(&mut tail).await.expect("a batch")[0]), "7");

    server.kill();
    std::fs::remove_dir_all(&files).expect("files that can be removed");
    copy(&older, &files);
    server.restart().await;
    // Another node can be faster than the one that notices the loss.
    while state_again(&log).await.last <= old.last.next() {
        append_until_ok(&log, epoch, "other").await;
    }
    let mut later = log.tail(old.last);
    let next = in_time("a batch", later.next()).await.expect("a tail that has not ended").expect("a batch");
    assert_eq!((next[0].position, text(&next[0])), (old.last.next(), "other".to_owned()));
    let ended = batch(&mut tail).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_new_epoch(&log, &old, id).await;
    assert_eq!(texts(&log).await.len() > 1, B::KEEPS_RECORDS_OF_OLD_EPOCHS);
    let epoch = state(&log).await.epoch;
    let anew = log.append(epoch, record("7"), Some(keyed)).await.expect("appended");
    assert!(!anew.repeated, "a key of the old epoch");
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a file that can be copied");
        }
    }
}
