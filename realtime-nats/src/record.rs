//! Records as messages of a stream.

use async_nats::HeaderMap;
use bytes::Bytes;
use realtime_core::EventId;
use realtime_core::spi::{Entry, Position, Record};

use crate::error::Fault;
use crate::reader::Read;
use crate::streams::Names;

/// The header by which a stream recognizes a message that it has; a record's id, unless the
/// record is sent for an earlier one with its key.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header with the record's id where the other one has an earlier record's.
const RECORD_ID: &str = "Realtime-Record-Id";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// Returns the headers of a record that is sent as this message.
pub(crate) fn headers(record: &Record, message: EventId, stream: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MESSAGE_ID, message.to_string());
    headers.insert(EXPECTED_STREAM, stream);
    if record.id() != message {
        headers.insert(RECORD_ID, record.id().to_string());
    }
    headers
}

/// Returns the id of a record with these headers; that of no record for a message that is none.
pub(crate) fn id_of<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> EventId {
    let text = header(RECORD_ID).or_else(|| header(MESSAGE_ID));
    text.and_then(id).unwrap_or(EventId::from_bytes([0; 16]))
}

/// Returns the id by which a stream recognizes a message with these headers.
pub(crate) fn message_id(headers: &HeaderMap) -> Option<EventId> {
    headers.get(MESSAGE_ID).and_then(|value| id(value.as_str()))
}

/// Reads an id.
pub(crate) fn id(text: &str) -> Option<EventId> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(EventId::from_bytes(number.to_be_bytes()))
}

/// Returns a message as the entry of a log. Its bytes are copied, so that a small record keeps no
/// large read buffer.
pub(crate) fn entry(read: &Read) -> Entry {
    let headers = read.message.headers.as_ref();
    let id = id_of(|name| headers?.get(name).map(|value| value.as_str()));
    Entry::new(Position::new(read.sequence), id, Bytes::copy_from_slice(&read.message.payload))
}

/// Returns the subject of a record.
pub(crate) fn subject(record: &Record, names: &Names, life: &str) -> String {
    if record.changes_rooms() { names.changes(life) } else { names.events(life) }
}

/// Checks that messages follow each other without a gap, and follow this position if there is one.
pub(crate) fn check_gapless(after: u64, messages: &[Read]) -> Result<u64, Fault> {
    let mut last = after;
    for message in messages {
        if message.sequence <= last {
            return Err(Fault::Lost);
        }
        if message.sequence != last + 1 {
            return Err(Fault::Trimmed);
        }
        last = message.sequence;
    }
    Ok(last)
}
