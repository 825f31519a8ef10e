use bytes::Bytes;
use realtime_core::MemoryBackplane;
use realtime_core::spi::{Backplane, Position};
use serde_json::Value;

/// One record of the log as the tests' model sees it.
#[derive(Debug)]
pub struct Logged {
    pub position: u64,
    /// `{"event": {"target": …, "name": …}}`, `{"join": {"user", "room"}}` and so on.
    pub kind: Value,
    pub payload: Bytes,
}

/// Reads a whole log: the envelope of version 1 is a version byte, the header's length, the header as JSON, the payload.
pub async fn read_log(backplane: &MemoryBackplane) -> Vec<Logged> {
    let entries = backplane.range(Position::START, usize::MAX).await.unwrap();
    entries
        .into_iter()
        .map(|entry| {
            let record = entry.record.bytes();
            assert_eq!(record[0], 1);
            let end = 5 + u32::from_be_bytes(record[1..5].try_into().unwrap()) as usize;
            let header: Value = serde_json::from_slice(&record[5..end]).unwrap();
            Logged { position: entry.position.get(), kind: header["kind"].clone(), payload: record.slice(end..) }
        })
        .collect()
}
