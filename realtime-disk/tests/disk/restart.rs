use std::time::{Duration, SystemTime};

use realtime_core::spi::{AppendError, Backplane, Position, Record, RepeatKey, Revocation, RoomTable};
use realtime_core::{Error, EventId};
use realtime_disk::{DiskBackplane, DiskConfig, SyncMode};
use realtime_testkit::in_time;

use crate::support::{open, open_with};
use realtime_testkit::steps::{append, append_record, key, record, state, text, texts};

#[tokio::test]
async fn log_is_the_same_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for n in 1..=5 {
        assert_eq!(append(&log, &n.to_string()).await, Position::new(n));
    }
    let before = (state(&log).await, log.range(Position::START, 10).await.unwrap());
    drop(log);
    let log = open(directory.path());
    assert_eq!((state(&log).await, log.range(Position::START, 10).await.unwrap()), before);
    assert_eq!(append(&log, "6").await, Position::new(6));
}

#[tokio::test]
async fn idempotency_key_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let long = key(1, Duration::from_secs(60));
    let first = append_record(&log, record("1"), Some(long)).await.unwrap();
    let short = key(2, Duration::from_millis(1));
    append_record(&log, record("2"), Some(short)).await.unwrap();
    drop(log);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let log = open(directory.path());
    assert_eq!(append_record(&log, record("3"), Some(long)).await.unwrap(), first.as_repeated());
    assert!(!append_record(&log, record("4"), Some(short)).await.unwrap().repeated, "its time is over");
}

#[tokio::test]
async fn keys_beyond_the_bound_are_forgotten_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Duration::from_secs(60);
    let log = open_with(directory.path(), DiskConfig::default().with_keys(2));
    for number in 1..=3 {
        append_record(&log, record("x"), Some(key(number, keep))).await.unwrap();
    }
    drop(log);
    // A larger bound does not bring the first one back.
    let log = open(directory.path());
    let mut repeated = Vec::new();
    for number in [3, 2, 1] {
        repeated.push(append_record(&log, record("x"), Some(key(number, keep))).await.unwrap().repeated);
    }
    assert_eq!(repeated, [true, true, false]);
}

#[tokio::test]
async fn key_used_again_after_its_time_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_record(&log, record("1"), Some(key(1, Duration::from_millis(1)))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let long = key(1, Duration::from_secs(60));
    let again = append_record(&log, record("2"), Some(long)).await.unwrap();
    assert!(!again.repeated);
    drop(log);
    let log = open(directory.path());
    assert_eq!(append_record(&log, record("3"), Some(long)).await.unwrap(), again.as_repeated());
}

#[tokio::test]
async fn forgotten_keys_leave_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    for (number, seconds) in [(1, 60), (2, 60), (3, 60), (4, 0)] {
        let keep = Duration::from_secs(seconds) + Duration::from_millis(1);
        append_record(&log, record("x"), Some(key(number, keep))).await.unwrap();
    }
    drop(log);
    tokio::time::sleep(Duration::from_millis(5)).await;
    // One has ended while no process had the log, and one is beyond the new bound.
    drop(open_with(directory.path(), DiskConfig::default().with_keys(2)));
    let store = fjall::Database::builder(directory.path().join("store")).open().unwrap();
    let keys = store.keyspace("keys", fjall::KeyspaceCreateOptions::default).unwrap();
    let mut left: Vec<_> = keys.iter().map(|item| item.key().unwrap()[0]).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 3]);
}

#[tokio::test]
async fn repeat_does_not_evict_another_key() {
    let directory = tempfile::tempdir().unwrap();
    let keep = Duration::from_secs(60);
    let log = open_with(directory.path(), DiskConfig::default().with_keys(2));
    let mut repeated = Vec::new();
    for number in [1, 2, 2, 1, 2, 1] {
        repeated.push(append_record(&log, record("x"), Some(key(number, keep))).await.unwrap().repeated);
    }
    assert_eq!(repeated, [false, false, true, true, true, true]);
}

#[tokio::test]
async fn concurrent_appends_with_one_key_are_one_record() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let keyed = key(1, Duration::from_secs(60));
    let other = RepeatKey::new(keyed.key, [0; 16], keyed.keep);
    let sends = (0..20).map(|n| append_record(&log, record("x"), Some(if n % 4 == 3 { other } else { keyed })));
    let answers = futures_util::future::join_all(sends).await;
    assert_eq!(answers.iter().flatten().filter(|first| !first.repeated).count(), 1);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(AppendError::KeyReused))).count(), 5);
    assert_eq!(state(&log).await.last, Position::new(1));
}

#[tokio::test]
async fn records_beyond_the_bounds_are_dropped_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), DiskConfig::default().with_records(3));
    for n in 1..=10 {
        append(&log, &n.to_string()).await;
    }
    assert_eq!(texts(&log).await, ["8", "9", "10"]);
    drop(log);
    let log = open(directory.path());
    assert_eq!(
        (texts(&log).await, state(&log).await.start),
        (vec!["8".into(), "9".into(), "10".into()], Position::new(7))
    );
    drop(log);
    // A smaller bound holds at the next append.
    let log = open_with(directory.path(), DiskConfig::default().with_bytes(2 * record("10").size()));
    append(&log, "11").await;
    assert_eq!(texts(&log).await, ["10", "11"]);
}

#[tokio::test]
async fn old_records_are_dropped_except_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_with(directory.path(), DiskConfig::default().with_age(Duration::from_millis(100)));
    append(&log, "1").await;
    append(&log, "2").await;
    in_time("only the newest is left", async {
        while texts(&log).await != ["2"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(log);
    let log = open_with(directory.path(), DiskConfig::default().with_age(Duration::from_millis(100)));
    assert_eq!((texts(&log).await, state(&log).await.last), (vec!["2".into()], Position::new(2)));
}

#[tokio::test]
async fn new_epoch_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append(&log, "1").await;
    let old = state(&log).await;
    let new = log.renew(old.epoch, Position::new(1000), EventId::random()).await.unwrap();
    assert_ne!(new.epoch, old.epoch);
    drop(log);
    assert_eq!(state(&open(directory.path())).await, new);
}

#[tokio::test]
async fn synced_appends_are_kept_too() {
    let directory = tempfile::tempdir().unwrap();
    let always = || DiskConfig::default().with_sync(SyncMode::Always);
    let log = open_with(directory.path(), always());
    let epoch = state(&log).await.epoch;
    append(&log, "1").await;
    drop(log);
    let log = open_with(directory.path(), always());
    assert_eq!((texts(&log).await, state(&log).await.epoch), (vec!["1".into()], epoch));
}

#[tokio::test]
async fn files_of_another_format_are_refused_with_both_numbers() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let store = fjall::Database::builder(directory.path().join("store")).open().unwrap();
    let life = store.keyspace("life", fjall::KeyspaceCreateOptions::default).unwrap();
    life.insert("life", r#"{"format":3,"shape":"unknown"}"#).unwrap();
    drop((life, store));
    let Err(Error::Config(text)) = DiskBackplane::open(directory.path()) else { panic!("expected an error") };
    assert!(text.contains("format 3") && text.contains("format 2"), "{text}");
}

#[tokio::test]
async fn rooms_are_the_same_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let options = || DiskConfig::default().with_records(3);
    let log = open_with(directory.path(), options());
    for room in ["a", "b", "c", "d", "e"] {
        append_record(&log, Record::of_join(EventId::random(), "ann", None, room).into(), None).await.unwrap();
        append_record(&log, Record::of_join(EventId::random(), "bob", Some("t"), room).into(), None).await.unwrap();
        append_record(&log, Record::of_leave(EventId::random(), "bob", Some("t"), room).into(), None).await.unwrap();
    }
    let last = state(&log).await.last;
    let before = (log.rooms(Position::START).await.unwrap(), log.rooms(last).await.unwrap());
    assert!(before.0.user("ann").is_some() && before.0.user("bob").is_none());
    drop(log);
    let log = open_with(directory.path(), options());
    assert_eq!((log.rooms(Position::START).await.unwrap(), log.rooms(last).await.unwrap()), before);
}

#[tokio::test]
async fn log_without_rooms_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append(&log, "1").await;
    assert_eq!(log.rooms(Position::new(1)).await.unwrap(), RoomTable::default());
    let entry = log.range(Position::START, 1).await.unwrap().remove(0);
    assert_eq!(text(&entry), "1");
}

#[tokio::test]
async fn revoked_token_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let revocation = |token, seconds| Revocation::new(token, SystemTime::now() + Duration::from_secs(seconds));
    log.revoke(&revocation("brief", 1), 10).await.unwrap();
    log.revoke(&revocation("a", 600), 10).await.unwrap();
    let longer = revocation("a", 900);
    log.revoke(&longer, 10).await.unwrap();
    drop(log);
    let log = open(directory.path());
    assert_eq!(log.revoked().await.unwrap().len(), 2);
    in_time("the end of the brief one", async {
        while log.revoke(&revocation("b", 600), 2).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(log);
    let mut stored = open(directory.path()).revoked().await.unwrap();
    stored.sort_by(|one, other| one.token.cmp(&other.token));
    assert_eq!(stored.iter().map(|stored| &*stored.token).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(stored[0], longer);
}
