//! The answers of Redis, as values of a log.

use bytes::Bytes;
use realtime_core::EventId;
use realtime_core::spi::{Entry, Position};
use redis::Value;

use crate::error::Fault;

/// A record, with the id of the one before it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) entry: Entry,
    /// `None` for the first record of a log.
    pub(crate) previous: Option<EventId>,
}

pub(crate) fn into_array(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Fault::Unexpected("not an array")),
    }
}

pub(crate) fn into_bytes(value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(Fault::Unexpected("not a string")),
    }
}

pub(crate) fn into_text(value: Value) -> Result<String, Fault> {
    match value {
        Value::VerbatimString { text, .. } => Ok(text),
        _ => String::from_utf8(into_bytes(value)?).map_err(|_| Fault::Unexpected("not UTF-8")),
    }
}

/// Reads a position in digits.
pub(crate) fn into_position(value: Value) -> Result<Position, Fault> {
    position(&into_text(value)?)
}

pub(crate) fn into_id(value: Value) -> Result<EventId, Fault> {
    id(&into_bytes(value)?)
}

/// Reads the records of a stream.
pub(crate) fn into_records(value: Value) -> Result<Vec<Read>, Fault> {
    into_fields(value)?.map(|entry| entry.and_then(|(position, fields)| read(position, fields))).collect()
}

/// Reads the entries of a stream that have one field.
pub(crate) fn into_changes(value: Value) -> Result<Vec<(Position, Vec<u8>)>, Fault> {
    let changes = into_fields(value)?.map(|entry| {
        let (position, fields) = entry?;
        let change = fields.into_iter().nth(1).ok_or(Fault::Unexpected("a change without a field"))?;
        Ok((position, into_bytes(change)?))
    });
    changes.collect()
}

/// Reads the entries of a stream: the position in each id, and its fields with their values.
fn into_fields(value: Value) -> Result<impl Iterator<Item = Result<(Position, Vec<Value>), Fault>>, Fault> {
    let entries = into_array(value)?.into_iter();
    Ok(entries.map(|entry| {
        let [stream_id, fields]: [Value; 2] =
            into_array(entry)?.try_into().map_err(|_| Fault::Unexpected("an entry without fields"))?;
        let stream_id = into_text(stream_id)?;
        let number = stream_id.split('-').next().unwrap_or_default();
        Ok((position(number)?, into_array(fields)?))
    }))
}

fn read(position: Position, fields: Vec<Value>) -> Result<Read, Fault> {
    let [_, id, _, previous, _, record]: [Value; 6] =
        fields.try_into().map_err(|_| Fault::Unexpected("a record with other fields"))?;
    let previous = into_bytes(previous)?;
    let previous = if previous.is_empty() { None } else { Some(self::id(&previous)?) };
    let record = Bytes::from(into_bytes(record)?);
    Ok(Read { entry: Entry::new(position, into_id(id)?, record), previous })
}

fn id(bytes: &[u8]) -> Result<EventId, Fault> {
    bytes.try_into().map(EventId::from_bytes).map_err(|_| Fault::Unexpected("not an id"))
}

fn position(text: &str) -> Result<Position, Fault> {
    text.parse().map(Position::new).map_err(|_| Fault::Unexpected("not a position"))
}
