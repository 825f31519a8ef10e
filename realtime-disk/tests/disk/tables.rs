//! Records that have left the log, and the space of their tables.

use futures_util::future::join_all;
use realtime_core::spi::Position;
use realtime_disk::{DiskBackplane, DiskConfig};

use crate::support::{oldest_stored, open, open_with, size_of_files};
use realtime_testkit::steps::{append, append_numbers, append_record, record, state, texts};

const KIB: usize = 1024;

/// Appends this many bytes in records of this size, in groups.
async fn fill(log: &DiskBackplane, bytes: usize, size: usize) {
    let text = "x".repeat(size);
    let mut left = bytes / size;
    while left > 0 {
        let group = left.min(16);
        let appended = join_all((0..group).map(|_| append_record(log, record(&text), None))).await;
        assert!(appended.iter().all(Result::is_ok), "{appended:?}");
        left -= group;
    }
}

#[tokio::test]
async fn tables_of_old_records_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let options = || DiskConfig::default().with_bytes(512 * KIB).with_table_bytes(64 * KIB as u64);
    let log = open_with(directory.path(), options());
    let keyspaces = directory.path().join("store/keyspaces");
    let mut largest = 0;
    for _ in 0..16 {
        fill(&log, 512 * KIB, 8 * KIB).await;
        largest = largest.max(size_of_files(&keyspaces));
    }
    // Beside the log itself a few tables: one that is partly old, those that are full of old
    // records since the last time, and those whose files go with the next flush.
    assert!(largest <= 4 * 512 * KIB as u64, "{largest} bytes of tables");
    let before = (state(&log).await, texts(&log).await.len());
    drop(log);
    let oldest = oldest_stored(directory.path());
    assert!(oldest > Position::new(512), "{oldest} of {:?}", before.0);
    let log = open_with(directory.path(), options());
    assert_eq!((state(&log).await, texts(&log).await.len()), before);
}

#[tokio::test]
async fn tables_of_earlier_processes_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let options = || DiskConfig::default().with_bytes(64 * KIB).with_table_bytes(64 * KIB as u64);
    for _ in 0..16 {
        let log = open_with(directory.path(), options());
        // Less than a table.
        fill(&log, 32 * KIB, 8 * KIB).await;
    }
    assert!(oldest_stored(directory.path()) > Position::new(16));
}

#[tokio::test]
async fn files_stay_within_their_bound() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = 4 * KIB * KIB;
    let options = || DiskConfig::default().with_bytes(bytes).with_table_bytes(KIB as u64 * KIB as u64);
    let log = open_with(directory.path(), options());
    let mut largest = 0;
    // More than three journals.
    for _ in 0..56 {
        fill(&log, bytes, 64 * KIB).await;
        largest = largest.max(size_of_files(directory.path()));
    }
    assert!(largest <= 2 * bytes as u64 + 192 * (KIB * KIB) as u64, "{largest} bytes of files");
    let before = (state(&log).await, texts(&log).await.len());
    drop(log);
    let log = open_with(directory.path(), options());
    assert_eq!((state(&log).await, texts(&log).await.len()), before);
}

#[tokio::test]
async fn directory_of_format_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append_numbers(&log, 100).await;
    let before = state(&log).await;
    drop(log);
    let store = fjall::Database::builder(directory.path().join("store")).open().unwrap();
    let options = fjall::KeyspaceCreateOptions::default;
    let (records, life) = (store.keyspace("records", options).unwrap(), store.keyspace("life", options).unwrap());
    // Records are alone there, and are removed one by one.
    for position in 1..=100_u64 {
        let value = records.get(position.to_be_bytes()).unwrap().expect("each is stored alone");
        records.insert(position.to_be_bytes(), &value[5..]).unwrap();
    }
    for position in 1..=90_u64 {
        records.remove(position.to_be_bytes()).unwrap();
    }
    life.insert("start", 90_u64.to_be_bytes()).unwrap();
    let text = String::from_utf8(life.get("life").unwrap().unwrap().to_vec()).unwrap();
    assert!(text.contains("\"format\":2"), "{text}");
    life.insert("life", text.replace("\"format\":2", "\"format\":1")).unwrap();
    drop((records, life, store));
    for last in 100..103 {
        let log = open(directory.path());
        let found = state(&log).await;
        assert_eq!((found.epoch, found.start), (before.epoch, Position::new(90)));
        assert_eq!(texts(&log).await, (91..=last).map(|n| n.to_string()).collect::<Vec<_>>());
        append(&log, &(last + 1).to_string()).await;
    }
}
