//! The steps that the tests of backplanes consist of.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::spi::{
    AppendError, AppendResult, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Stored, Tail,
};
use realtime_core::{Event, EventId, Target};

use crate::in_time;

pub(super) fn record_of(id: EventId, text: &str) -> Arc<Record> {
    let event = Event::binary("record", text.as_bytes().to_vec()).expect("an event");
    Arc::new(Record::of_event(id, Target::all(), event))
}

pub(super) async fn append(node: &Arc<dyn Backplane>, text: &str) -> Position {
    let epoch = state_of(node).await.epoch;
    let appended = node.append(epoch, record_of(EventId::random(), text), None);
    in_time("an append", appended).await.expect("appended").position
}

pub(super) async fn append_as(node: &Arc<dyn Backplane>, epoch: Epoch, id: EventId) -> Result<Position, AppendError> {
    let appended = in_time("an append", node.append(epoch, record_of(id, "x"), None)).await?;
    assert_eq!((appended.id, appended.repeated), (id, false));
    Ok(appended.position)
}

/// Returns a key with this number, content hash and duration.
pub(super) fn key(number: u8, content: u8, keep: Duration) -> RepeatKey {
    RepeatKey::new([number; 16], [content; 16], keep)
}

pub(super) async fn append_with(node: &Arc<dyn Backplane>, key: RepeatKey) -> AppendResult {
    let epoch = state_of(node).await.epoch;
    in_time("an append", node.append(epoch, record_of(EventId::random(), "keyed"), Some(key))).await
}

pub(super) async fn state_of(node: &Arc<dyn Backplane>) -> LogState {
    in_time("a state", node.state()).await.expect("a state")
}

pub(super) async fn renew(node: &Arc<dyn Backplane>, seen: Epoch, position: Position, id: EventId) -> LogState {
    in_time("a renewal", node.renew(seen, position, id)).await.expect("a state")
}

pub(super) async fn read(tail: &mut Tail, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let batch =
            in_time("a batch", tail.next()).await.expect("expected a batch, got the end").expect("expected a batch");
        assert!(!batch.is_empty(), "expected a batch with records");
        entries.extend(batch);
    }
    entries
}

pub(super) fn text(record: &Stored) -> String {
    let record = record.decode().expect("a record");
    let (_, event) = record.event().expect("an event");
    String::from_utf8(event.payload().bytes().to_vec()).expect("text")
}

pub(super) fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| text(&entry.record)).collect()
}

pub(super) fn assert_gapless_after(after: Position, entries: &[Entry]) {
    let mut expected = after;
    for entry in entries {
        expected = expected.next();
        assert_eq!(entry.position, expected);
    }
}
