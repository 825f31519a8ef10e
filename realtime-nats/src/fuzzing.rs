//! Entrances to private decoders, for `tests/fuzz`.

use bytes::Bytes;
use realtime_core::{EventId, NodeId, Presence};

use crate::directory::entry;
use crate::{reader, record};

/// Reads an id.
#[must_use]
pub fn id(text: &str) -> Option<EventId> {
    record::id(text)
}

/// Reads the connections of a node.
#[must_use]
pub fn presences(node: NodeId, data: &[u8]) -> Vec<Presence> {
    entry::read(node, data)
}

/// Writes the connections of a node.
#[must_use]
pub fn stored_presences(node: NodeId, presences: &[Presence]) -> Option<Bytes> {
    entry::write(node, presences).ok()
}

/// Reads the sequence of a message, and the number of messages behind it, from its reply subject.
#[must_use]
pub fn place(reply: &str) -> Option<(u64, u64)> {
    reader::place(reply)
}
