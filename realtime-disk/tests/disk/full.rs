//! A disk that is full, and has room again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use realtime_core::spi::{AppendError, Backplane};
use realtime_core::{Error, EventId};

use crate::support::open;
use realtime_testkit::steps::{append_record, record, state, texts};

/// A file system in memory, of 64 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it; `None` where this process may not.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_rejects_appends_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path()) else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    let log = open(&disk.0.join("log"));
    let before = state(&log).await;
    let filler = disk.0.join("filler");
    // Leaves less than a megabyte.
    let _ = std::fs::write(&filler, vec![1; 63 * 1024 * 1024]);
    let mut answered = Vec::new();
    let (mut refused, mut not_ready) = (0, 0);
    let begun = Instant::now();
    while refused < 20 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the disk is full: {} answered", answered.len());
        let text = format!("{} {}", answered.len(), "x".repeat(50_000));
        match tokio::time::timeout(Duration::from_secs(2), append_record(&log, record(&text), None)).await {
            Ok(Ok(_)) => answered.push(text),
            Ok(Err(AppendError::Refused(_))) => {
                refused += 1;
                // Between two attempts, of which a small one may succeed.
                match log.renew(before.epoch, before.last, EventId::random()).await {
                    Err(Error::Backplane(_)) => not_ready += 1,
                    other => drop(other.unwrap()),
                }
            }
            // Not known until the store is open again.
            Err(_) => {}
            Ok(Err(error)) => panic!("expected a certain refusal: {error}"),
        }
    }
    assert!(not_ready > 0, "a node on a full disk is not ready");
    std::fs::remove_file(&filler).unwrap();
    let begun = Instant::now();
    while append_record(&log, record("room again"), None).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the disk has room");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = state(&log).await.last;
    assert_kept(&texts(&log).await, &answered);
    drop(log);
    let log = open(&disk.0.join("log"));
    assert_kept(&texts(&log).await, &answered);
    assert_eq!((state(&log).await.epoch, state(&log).await.last), (before.epoch, last));
}

/// Asserts that all these records are in the log, in order.
fn assert_kept(texts: &[String], answered: &[String]) {
    let mut texts = texts.iter();
    for text in answered {
        assert!(texts.any(|found| found == text), "{} is missing", &text[..text.len().min(10)]);
    }
}
