//! The steps that only the tests of this suite consist of; the others are those of all logs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use realtime_core::EventId;
use realtime_core::spi::{AppendError, AppendResult, Backplane, Entry, Epoch, LogState, Position, RepeatKey, Tail};

use crate::in_time;
pub(super) use crate::steps::{append, record_of, state as state_of, text_of as text};

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
    crate::steps::append_record(node, crate::steps::record("keyed"), Some(key)).await
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
