//! Records between nodes: events, asks, joins, closes, and the reports about them.

use bytes::Bytes;
use realtime_core::spi::{Position, RoomEdit, RoomTable, Stored};

/// A record's bytes may grow: a short form of its parts is read too, and the whole form written.
const GROWTH: usize = 8;
const GROWTH_ONCE: usize = 512;
/// The newest version of records that this build reads.
const READS: u8 = 3;

pub(crate) fn run(data: &[u8]) {
    let stored = Stored::from(Bytes::copy_from_slice(data));
    let record = match stored.decode() {
        Ok(record) => record,
        Err(error) => {
            let is_newer = matches!(data, [needs, flags, ..] if *needs > READS && flags & 1 == 0);
            assert_eq!(error.is_skippable(), !is_newer, "{error}");
            assert!(error.to_string().len() < 128);
            return;
        }
    };
    let bytes = record.bytes();
    assert!(bytes.len() <= GROWTH * data.len() + GROWTH_ONCE, "{} bytes of {}", bytes.len(), data.len());
    let again = Stored::from(bytes.clone()).decode().expect("what was encoded is read");
    assert_eq!(again, record, "another record");
    assert_eq!(again.bytes(), bytes, "other bytes");
    let payload = record.event().map_or(0, |(_, event)| event.payload().size());
    assert!(payload <= data.len());
    assert_eq!(record.room_edit().is_some(), record.changes_rooms());
    if let Some(edit) = record.room_edit() {
        let json = serde_json::to_vec(&edit).unwrap();
        assert_eq!(serde_json::from_slice::<RoomEdit>(&json).unwrap(), edit);
        let (mut by_record, mut by_edit) = (RoomTable::default(), RoomTable::default());
        by_record.apply(Position::new(1), &record);
        by_edit.edit(Position::new(1), &edit);
        assert_eq!(by_record, by_edit);
    }
}
