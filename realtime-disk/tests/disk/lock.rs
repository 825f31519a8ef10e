use std::time::Duration;

use realtime_core::Error;
use realtime_disk::{DiskBackplane, DiskConfig};

use crate::support::{open, open_with};
use realtime_testkit::steps::{append, texts};

#[tokio::test]
async fn second_process_gets_an_error_with_path_and_pid() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let Err(Error::Config(text)) = DiskBackplane::open(directory.path()) else { panic!("expected an error") };
    assert!(text.contains(&directory.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(log);
    DiskBackplane::open(directory.path()).unwrap();
}

#[tokio::test]
async fn open_waits_for_the_process_that_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append(&log, "1").await;
    let path = directory.path().to_owned();
    let options = DiskConfig::default().with_lock_wait(Duration::from_secs(20));
    let waiting = tokio::task::spawn_blocking(move || open_with(&path, options));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    append(&log, "2").await;
    drop(log);
    assert_eq!(texts(&waiting.await.unwrap()).await, ["1", "2"]);
}

#[tokio::test]
async fn directory_that_cannot_be_made_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Err(Error::Backplane(error)) = DiskBackplane::open(file.join("log")) else { panic!("expected an error") };
    assert!(error.to_string().contains(&file.join("log").display().to_string()), "{error}");
}
