//! Processes that end by `kill -9`, and files that lost their end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use realtime_core::Error;
use realtime_core::spi::{Backplane, Position};
use realtime_disk::{DiskBackplane, DiskConfig};
use realtime_testkit::SeededRng;

use crate::support::{oldest_stored, open, open_with};
use realtime_testkit::steps::{append, record, state, texts};

/// The variable that makes this program a writer, with its directory.
const WRITER: &str = "REALTIME_DISK_WRITER";
/// The variable with the bytes of a table of its records.
const TABLE_BYTES: &str = "REALTIME_DISK_TABLE_BYTES";

/// Appends until it is killed, and prints the number of each record that was answered. Does nothing
/// unless a test starts it.
#[tokio::test]
async fn writer_process() {
    let Ok(directory) = std::env::var(WRITER) else { return };
    let table_bytes = std::env::var(TABLE_BYTES).ok().and_then(|bytes| bytes.parse().ok()).expect("a number");
    let log = open_small(Path::new(&directory), table_bytes);
    let epoch = state(&log).await.epoch;
    println!("epoch {}", epoch.get());
    let writers = (0..8).map(|_| {
        let log = log.clone();
        async move {
            loop {
                let appended = log.append(epoch, record("x"), None).await.expect("appended");
                println!("answered {}", appended.position.get());
                // So that the store stays small, and is read quickly.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

/// Opens a log that is read quickly: as many records as fill 16 such tables, and at most 2,000.
fn open_small(directory: &Path, table_bytes: u64) -> DiskBackplane {
    let records = (table_bytes / 16).min(2000) as usize;
    open_with(directory, DiskConfig::default().with_records(records).with_table_bytes(table_bytes))
}

/// A writer in a process of its own.
struct Writer {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    epoch: u64,
}

impl Writer {
    fn start(directory: &Path, table_bytes: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["crash::writer_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITER, directory)
            .env(TABLE_BYTES, table_bytes.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        let epoch = loop {
            line.clear();
            assert!(output.read_line(&mut line).expect("a line") > 0, "the writer has ended");
            // The test's name stands before its first line.
            if let Some((_, rest)) = line.split_once("epoch ") {
                break rest.trim().parse().expect("an epoch");
            }
        };
        Self { child, output, epoch }
    }

    /// Ends the writer after this time; returns the highest position that it was answered with.
    fn kill_after(mut self, time: Duration) -> u64 {
        std::thread::sleep(time);
        self.child.kill().expect("killed");
        self.child.wait().expect("its end");
        let mut last = 0;
        for line in self.output.lines().map_while(Result::ok) {
            // The last line may be cut.
            if let Some(number) = line.strip_prefix("answered ").and_then(|number| number.parse::<u64>().ok()) {
                last = last.max(number);
            }
        }
        last
    }
}

/// The bytes of tables that a writer does not fill, and of tables that it fills all the time.
const LARGE: u64 = 16 * 1024 * 1024;
const TINY: u64 = 4 * 1024;

#[test]
fn killed_process_loses_nothing_that_was_answered() {
    kill_again_and_again(tempfile::tempdir().unwrap().path(), LARGE);
}

#[test]
fn process_killed_while_it_drops_tables_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    kill_again_and_again(directory.path(), TINY);
    assert!(oldest_stored(directory.path()) > Position::new(100), "tables were dropped");
}

/// Starts and kills writers, and opens what they leave behind.
fn kill_again_and_again(directory: &Path, table_bytes: u64) {
    let mut rng = SeededRng::new("kill");
    let mut epochs = std::collections::BTreeSet::new();
    let mut answered = 0;
    for _ in 0..50 {
        let writer = Writer::start(directory, table_bytes);
        epochs.insert(writer.epoch);
        answered = answered.max(writer.kill_after(Duration::from_millis(rng.below(60) as u64)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (last, start) = runtime.block_on(async {
            let state = state(&open_small(directory, table_bytes)).await;
            (state.last.get(), state.start.get())
        });
        assert!(last >= answered && start < last.max(1), "{start} to {last} of {answered}");
    }
    assert!(answered > 100, "the writers wrote: {answered}");
    assert_eq!(epochs.len(), 1, "one epoch");
}

/// Returns the journal files of a store, and its tables.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.join("store")];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[tokio::test]
async fn lost_end_of_a_file_begins_a_new_epoch_or_is_refused() {
    for cut in [1, 100, 1024, 16 * 1024, 64 * 1024] {
        for zeroes in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let child = Writer::start(directory.path(), LARGE);
            let epoch = child.epoch;
            let answered = child.kill_after(Duration::from_millis(200));
            let journal = files(directory.path())
                .into_iter()
                .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
                .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
                .expect("a journal");
            damage(&journal, cut, zeroes);
            match DiskBackplane::open(directory.path()) {
                Ok(log) => {
                    let state = state(&log).await;
                    let shorter = state.last.get() < answered;
                    assert!(
                        !shorter || state.epoch.get() != epoch,
                        "cut {cut}, zeroes {zeroes}: {state:?} of {answered}"
                    );
                    assert_eq!(append(&log, "next").await, state.last.next());
                    assert_eq!(texts(&log).await.len() as u64, state.last.get() + 1 - state.start.get());
                }
                Err(error) => assert!(matches!(error, Error::Config(_) | Error::Backplane(_)), "{error}"),
            }
        }
    }
}

/// Cuts the end of the written part of a file off, or fills it with zeroes.
fn damage(path: &Path, bytes: u64, zeroes: bool) {
    use std::os::unix::fs::FileExt;
    let content = std::fs::read(path).unwrap();
    let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
    let from = written.saturating_sub(bytes);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    if zeroes {
        file.write_all_at(&vec![0; (written - from) as usize], from).unwrap();
    } else {
        file.set_len(from).unwrap();
    }
}

#[tokio::test]
async fn older_copy_begins_an_epoch_for_a_node_that_saw_more() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    append(&log, "1").await;
    drop(log);
    copy_directory(directory.path(), copy.path());
    let log = open(directory.path());
    append(&log, "2").await;
    drop(log);
    let log = open(copy.path());
    assert_eq!(texts(&log).await, ["1"]);
    let id = log.range(Position::START, 1).await.unwrap()[0].id;
    let before = state(&log).await;
    assert_eq!(log.renew(before.epoch, Position::new(1), id).await.unwrap(), before);
    let renewed = log.renew(before.epoch, Position::new(2), id).await.unwrap();
    assert_ne!(renewed.epoch, before.epoch, "a node that has seen the second record begins an epoch");
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
