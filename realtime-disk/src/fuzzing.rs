//! Entrances to private decoders, for `tests/fuzz`.

use std::time::SystemTime;

use realtime_core::EventId;
use realtime_core::spi::{Epoch, Position, RepeatKey, Stored};

use crate::format::{key_of, key_value, record_of, record_value};
use crate::tip::Tip;

/// Reads a record as it is stored.
#[must_use]
pub fn record(value: &[u8]) -> Option<(EventId, SystemTime, Stored)> {
    record_of(value).map(|stored| (stored.id, stored.at, stored.record))
}

/// Returns a record as it is stored.
#[must_use]
pub fn stored(at: SystemTime, id: EventId, record: &[u8]) -> Vec<u8> {
    record_value(at, id, record)
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
