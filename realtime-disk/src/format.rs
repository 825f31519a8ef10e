//! The format in which records, keys and times are stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use realtime_core::EventId;
use realtime_core::spi::{Position, RepeatKey, Stored};

/// The bytes before a record: the time of its append in milliseconds, its id.
const RECORD_HEAD: usize = 8 + 16;
/// The bytes before these: how many there are of both.
const LENGTH_BYTES: usize = 4;
/// The first byte of records that are stored together.
const TOGETHER: u8 = 1;
/// The first byte of a record that is stored alone, as format 1 has it: that of its time.
const ALONE: u8 = 0;
/// The bytes of a key's record: content, position, id, end in milliseconds.
const KEY_BYTES: usize = 16 + 8 + 16 + 8;

/// A record in the store.
pub(crate) struct StoredRecord {
    pub(crate) id: EventId,
    pub(crate) at: SystemTime,
    pub(crate) record: Stored,
}

/// Adds a record to those that are stored together.
pub(crate) fn add_record(records: &mut Vec<u8>, at: SystemTime, id: EventId, record: &Stored) {
    if records.is_empty() {
        records.push(TOGETHER);
    }
    let length = records.len();
    records.extend([0; LENGTH_BYTES]);
    records.extend(millis(at).to_be_bytes());
    records.extend(id.to_bytes());
    record.write_to(records);
    // The store takes no value of 4 GiB.
    let bytes = (records.len() - length - LENGTH_BYTES) as u32;
    records[length..][..LENGTH_BYTES].copy_from_slice(&bytes.to_be_bytes());
}

/// Returns the value of a key that ends at this time.
pub(crate) fn key_value(key: &RepeatKey, position: Position, id: EventId, end: SystemTime) -> Vec<u8> {
    let mut value = Vec::with_capacity(KEY_BYTES);
    value.extend(key.content);
    value.extend(position.get().to_be_bytes());
    value.extend(id.to_bytes());
    value.extend(millis(end).to_be_bytes());
    value
}

/// Reads a key; the time for which it is kept is that from 1970 to its end.
pub(crate) fn key_of(key: &[u8], value: &[u8]) -> Option<(RepeatKey, Position, EventId)> {
    let content = value.get(..16)?.try_into().ok()?;
    let id = EventId::from_bytes(value.get(24..40)?.try_into().ok()?);
    let until = time_of(value.get(40..KEY_BYTES)?)?;
    Some((RepeatKey::new(key.try_into().ok()?, content, until), position_of(value.get(16..24)?)?, id))
}

/// Reads records that are stored together, or one that is stored alone.
pub(crate) fn records_of(value: &[u8]) -> Option<Vec<StoredRecord>> {
    match value.split_first()? {
        (&TOGETHER, mut rest) => {
            let mut records = Vec::new();
            while let Some((bytes, after)) = rest.split_first_chunk() {
                let (record, after) = after.split_at_checked(u32::from_be_bytes(*bytes) as usize)?;
                records.push(record_of(record)?);
                rest = after;
            }
            (rest.is_empty() && !records.is_empty()).then_some(records)
        }
        (&ALONE, _) => Some(vec![record_of(value)?]),
        _ => None,
    }
}

fn record_of(value: &[u8]) -> Option<StoredRecord> {
    let at = UNIX_EPOCH + time_of(value.get(..8)?)?;
    let id = EventId::from_bytes(value.get(8..RECORD_HEAD)?.try_into().ok()?);
    let stored = Stored::from(Bytes::copy_from_slice(value.get(RECORD_HEAD..)?));
    // A record of another version stays as it is: its readers skip it.
    let record = stored.decode().map_or(stored, Stored::from);
    Some(StoredRecord { id, at, record })
}

/// Reads a position.
pub(crate) fn position_of(bytes: &[u8]) -> Option<Position> {
    Some(Position::new(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// Reads a time as the duration since 1970.
pub(crate) fn time_of(bytes: &[u8]) -> Option<Duration> {
    Some(Duration::from_millis(u64::from_be_bytes(bytes.try_into().ok()?)))
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
