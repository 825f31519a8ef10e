//! Servers that do not answer.

use std::time::{Duration, Instant};

use realtime_core::spi::{AppendError, Backplane, Position};

use super::{BrokerUnderTest, connect};
use crate::in_time;
use crate::steps::{APPEND_TIME, append, append_until_ok, follow, key, record, state, text, texts, timed_append};

/// A kill loses nothing that was answered, and keeps the epoch.
pub async fn killed_server_returns_with_all_that_was_answered<B: BrokerUnderTest>() {
    let mut server = B::start_synced().await;
    let log = connect(&server).await;
    let before = state(&log).await;
    let writer = log.clone();
    let writing = tokio::spawn(async move {
        let mut answered = Vec::new();
        for n in 0..3_000 {
            if let Ok(appended) = timed_append(&writer, before.epoch, &n.to_string()).await {
                answered.push((appended.position, n.to_string()));
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        answered
    });
    let mut read = follow(&log, Position::START, 200).await;
    server.kill();
    server.restart().await;
    let answered = writing.await.expect("the task ends");
    let last = append_until_ok(&log, before.epoch, "end").await;
    let after = read.last().expect("a record").position;
    read.extend(follow(&log, after, last.get() as usize - read.len()).await);
    let positions: Vec<_> = read.iter().map(|entry| entry.position.get()).collect();
    assert_eq!(positions, (1..=last.get()).collect::<Vec<_>>());
    for (position, expected) in &answered {
        assert_eq!(text(&read[position.get() as usize - 1]), *expected, "{position}");
    }
    assert!(answered.len() > 100, "{}", answered.len());
    assert_eq!(state(&log).await.epoch, before.epoch);
}

/// An append that is not answered is unknown, and later ones fail at once on a connection that was
/// given up.
pub async fn suspended_server_makes_an_append_unknown_within_2_s<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    append(&log, "1").await;
    server.suspend();
    let since = Instant::now();
    let first = timed_append(&log, epoch, "2").await;
    assert!(matches!(first, Err(AppendError::Unknown(_))), "{first:?}");
    let mut refused = 0;
    while since.elapsed() < Duration::from_secs(8) {
        match timed_append(&log, epoch, "during").await {
            Err(AppendError::Unknown(_)) => {}
            Err(AppendError::Refused(_)) => refused += 1,
            other => panic!("expected an outage, got {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refused > 0, "expected a connection that is given up");
    server.resume();
    let last = append_until_ok(&log, epoch, "3").await;
    let read = follow(&log, Position::START, last.get() as usize).await;
    assert_eq!((text(&read[0]), text(&read[read.len() - 1])), ("1".to_owned(), "3".to_owned()));
    assert_eq!(state(&log).await.epoch, epoch);
}

/// Whatever became of the first attempt, the record is in the log once.
pub async fn unknown_append_that_is_retried_with_its_key_is_there_once<B: BrokerUnderTest>() {
    let server = B::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    let keyed = key(1, Duration::from_secs(60));
    server.suspend();
    let first = tokio::time::timeout(APPEND_TIME, log.append(epoch, record("keyed"), Some(keyed))).await;
    let first = first.expect("an outcome within 2 s");
    let is_unknown = matches!(first, Err(AppendError::Unknown(_)));
    assert!(is_unknown || first.is_err() && !B::APPENDS_WITH_KEY_AT_ONCE, "{first:?}");
    server.resume();
    let retried = async {
        while log.append(epoch, record("keyed"), Some(keyed)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("an append that succeeds", retried).await;
    append(&log, "end").await;
    assert_eq!(texts(&log).await, ["keyed", "end"]);
}

/// Nothing waits for a server that is gone, and nothing is sent to it later.
pub async fn append_without_a_server_has_an_outcome_within_2_s<B: BrokerUnderTest>() {
    let mut server = B::start_synced().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    append(&log, "before").await;
    server.kill();
    let (since, mut refused) = (Instant::now(), 0);
    while since.elapsed() < Duration::from_secs(2) {
        match timed_append(&log, epoch, "refused").await {
            Err(AppendError::Refused(_)) => refused += 1,
            Err(AppendError::Unknown(_)) => {}
            other => panic!("expected an outage, got {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused > 0, "expected refusals");
    assert!(log.state().await.is_err() && log.publish(record("x"), None).await.is_err());
    server.restart().await;
    append_until_ok(&log, epoch, "after").await;
    let mut kept = texts(&log).await;
    // An attempt with an unknown outcome can have been one more.
    kept.dedup();
    assert_eq!(kept, ["before", "after"], "nothing reached a server that is not there");
}
