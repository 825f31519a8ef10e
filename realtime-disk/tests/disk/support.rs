use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::{AppendResult, Backplane, Entry, LogState, Position, Record, RepeatKey};
use realtime_core::{Event, EventId, Target};
use realtime_disk::{DiskBackplane, DiskConfig};
use realtime_testkit::in_time;

pub(crate) fn open(directory: &Path) -> DiskBackplane {
    open_with(directory, DiskConfig::default())
}

pub(crate) fn open_with(directory: &Path, options: DiskConfig) -> DiskBackplane {
    // A process that another test has just started has this one's lock until it runs.
    let options = options.with_lock_wait(Duration::from_secs(10));
    DiskBackplane::open_with(directory, options).expect("a backplane")
}

pub(crate) fn record(text: &str) -> Arc<Record> {
    let event = Event::binary("record", text.as_bytes().to_vec()).expect("an event");
    Arc::new(Record::of_event(EventId::random(), Target::all(), event))
}

pub(crate) fn text(entry: &Entry) -> String {
    let record = entry.record.decode().expect("a record");
    String::from_utf8(record.event().expect("an event").1.payload().bytes().to_vec()).expect("text")
}

pub(crate) async fn append(log: &DiskBackplane, text: &str) -> Position {
    append_record(log, record(text), None).await.expect("appended").position
}

pub(crate) async fn append_record(log: &DiskBackplane, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
    let epoch = state(log).await.epoch;
    in_time("an append", log.append(epoch, record, key)).await
}

pub(crate) async fn state(log: &DiskBackplane) -> LogState {
    log.state().await.expect("a state")
}

pub(crate) async fn texts(log: &DiskBackplane) -> Vec<String> {
    let entries = log.range(Position::START, usize::MAX).await.expect("a range");
    entries.iter().map(text).collect()
}

pub(crate) fn key(number: u8, keep: Duration) -> RepeatKey {
    RepeatKey::new([number; 16], [number; 16], keep)
}
