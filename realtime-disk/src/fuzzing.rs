//! Entrances to private decoders, for `tests/fuzz`.

use std::time::SystemTime;

use realtime_core::EventId;
use realtime_core::spi::{Epoch, Position, RepeatKey, Stored};

use crate::format::{add_record, key_of, key_value, records_of};
use crate::tip::Tip;

/// Reads records that are stored together, or one that is stored alone.
#[must_use]
pub fn records(value: &[u8]) -> Option<Vec<(EventId, SystemTime, Stored)>> {
    let records = records_of(value)?;
    Some(records.into_iter().map(|stored| (stored.id, stored.at, stored.record)).collect())
}

/// Adds a record to those that are stored together.
pub fn add(records: &mut Vec<u8>, at: SystemTime, id: EventId, record: &Stored) {
    add_record(records, at, id, record);
}

/// Reads an idempotency key as it is stored; the key's time is its end, since 1970.
#[must_use]
pub fn key(key: &[u8], value: &[u8]) -> Option<(RepeatKey, Position, EventId)> {
    key_of(key, value)
}

/// Returns the value of an idempotency key.
#[must_use]
pub fn stored_key(key: &RepeatKey, position: Position, id: EventId, end: SystemTime) -> Vec<u8> {
    key_value(key, position, id, end)
}

/// Reads the end of a log, and returns it with the bytes that it is written as.
#[must_use]
pub fn tip(bytes: &[u8]) -> Option<((Epoch, Position, EventId), Vec<u8>)> {
    let tip = Tip::of(bytes.try_into().ok()?)?;
    Some(((tip.epoch, tip.position, tip.id), tip.bytes().to_vec()))
}
