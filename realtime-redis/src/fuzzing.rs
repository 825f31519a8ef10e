//! Entrances to private decoders, for `tests/fuzz`.

use realtime_core::EventId;
use realtime_core::spi::{Entry, Position};
use redis::{Value, parse_redis_value};

use crate::entries::{into_changes, into_records};

/// Reads an answer of the server (RESP) as the records of a stream, each with the id of the one
/// before it.
#[must_use]
pub fn records(answer: &[u8]) -> Option<Vec<(Entry, Option<EventId>)>> {
    let records = into_records(value(answer)?).ok()?;
    Some(records.into_iter().map(|read| (read.entry, read.previous)).collect())
}

/// Reads an answer of the server (RESP) as changes of rooms.
#[must_use]
pub fn changes(answer: &[u8]) -> Option<Vec<(Position, Vec<u8>)>> {
    into_changes(value(answer)?).ok()
}

fn value(answer: &[u8]) -> Option<Value> {
    parse_redis_value(answer).ok()
}
