use bytes::Bytes;
use realtime_core::MemoryBackplane;
use realtime_core::spi::{Backplane, Position};
use serde_json::Value;

/// A record of the log in the form that the tests compare.
#[derive(Debug)]
pub struct Logged {
    pub position: u64,
    /// The kind, such as `{"event": {"target": …, "name": …}}` or `{"join": {"user", "room"}}`.
    pub kind: Value,
    pub payload: Bytes,
}

/// Reads a whole log.
///
/// An envelope is a version byte, a byte of flags, the header's length, the header as JSON, and the
/// payload.
pub async fn read_log(backplane: &MemoryBackplane) -> Vec<Logged> {
    let entries = backplane.range(Position::START, usize::MAX).await.unwrap();
    entries
        .into_iter()
        .map(|entry| {
            let record = entry.record.bytes();
            assert!([1, 3].contains(&record[0]), "versions with the same header");
            let end = 6 + u32::from_be_bytes(record[2..6].try_into().unwrap()) as usize;
            let header: Value = serde_json::from_slice(&record[6..end]).unwrap();
            Logged { position: entry.position.get(), kind: header["kind"].clone(), payload: record.slice(end..) }
        })
        .collect()
}
