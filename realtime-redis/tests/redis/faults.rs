use std::time::{Duration, Instant};

use realtime_core::spi::{AppendError, Backplane, Position};
use realtime_testkit::in_time;

use crate::server::Server;
use crate::support::{
    PROMISE, append, append_until_ok, connect, entries, follow, key, record, state, state_again, text, texts,
    timed_append,
};

#[tokio::test]
async fn killed_server_returns_with_all_that_was_answered() {
    let mut server = Server::start_synced().await;
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
    let answered = writing.await.unwrap();
    let last = append_until_ok(&log, before.epoch, "end").await;
    read.extend(follow(&log, read.last().unwrap().position, last.get() as usize - read.len()).await);
    let positions: Vec<_> = read.iter().map(|entry| entry.position.get()).collect();
    assert_eq!(positions, (1..=last.get()).collect::<Vec<_>>());
    for (position, expected) in &answered {
        assert_eq!(text(&read[position.get() as usize - 1]), *expected, "{position}");
    }
    assert!(answered.len() > 100, "{}", answered.len());
    assert_eq!(state(&log).await.epoch, before.epoch);
}

#[tokio::test]
async fn suspended_server_makes_an_append_unknown_within_2_s() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    append(&log, "1").await;
    server.suspend();
    let since = Instant::now();
    let first = timed_append(&log, epoch, "2").await;
    assert!(matches!(first, Err(AppendError::Unknown(_))), "{first:?}");
    while since.elapsed() < Duration::from_secs(3) {
        let outcome = timed_append(&log, epoch, "during").await;
        assert!(matches!(outcome, Err(AppendError::Unknown(_) | AppendError::Refused(_))), "{outcome:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.resume();
    let last = append_until_ok(&log, epoch, "3").await;
    let read = follow(&log, Position::START, last.get() as usize).await;
    assert_eq!((text(&read[0]), text(read.last().unwrap())), ("1".to_owned(), "3".to_owned()));
    assert_eq!(state(&log).await.epoch, epoch);
}

#[tokio::test]
async fn unknown_append_that_is_retried_with_its_key_is_there_once() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    let keyed = key(1, Duration::from_secs(60));
    server.suspend();
    let first = tokio::time::timeout(PROMISE, log.append(epoch, record("keyed"), Some(keyed))).await.unwrap();
    assert!(matches!(first, Err(AppendError::Unknown(_))), "{first:?}");
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

#[tokio::test]
async fn append_without_a_server_has_an_outcome_within_2_s() {
    let mut server = Server::start_synced().await;
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

#[tokio::test]
async fn errors_before_every_write_are_certain() {
    let server = Server::start().await;
    let log = connect(&server).await;
    let epoch = state(&log).await.epoch;
    append(&log, "1").await;
    for (name, begin, end) in [
        ("OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ] {
        server.command(begin).await;
        let outcome = timed_append(&log, epoch, name).await;
        let Err(AppendError::Refused(error)) = outcome else { panic!("{name}: {outcome:?}") };
        assert!(error.to_string().to_lowercase().contains(&name.to_lowercase()[..3]), "{name}: {error}");
        server.command(end).await;
        append_until_ok(&log, epoch, &format!("after {name}")).await;
    }
    let mut kept = texts(&log).await;
    kept.dedup();
    assert_eq!(kept, ["1", "after OOM", "after NOREPLICAS", "after READONLY"]);
    assert_eq!(state_again(&log).await.epoch, epoch);
}

#[tokio::test]
async fn state_can_be_read_while_memory_is_full() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    let before = state(&log).await;
    let id = entries(&log).await[0].id;
    server.command("CONFIG SET maxmemory 1").await;
    assert_eq!(log.renew(before.epoch, before.last, id).await.unwrap(), before);
    let new = log.renew(before.epoch, Position::new(9), id).await.unwrap();
    assert_ne!(new.epoch, before.epoch, "a loss is noticed too");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let server = Server::start().await;
    let log = connect(&server).await;
    append(&log, "1").await;
    server.command("SCRIPT FLUSH").await;
    let epoch = state(&log).await.epoch;
    server.command("SCRIPT FLUSH").await;
    timed_append(&log, epoch, "2").await.unwrap();
    assert_eq!(texts(&log).await, ["1", "2"]);
}
