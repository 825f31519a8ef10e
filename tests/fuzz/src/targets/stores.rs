//! Answers of Redis and NATS, as far as the crates read them by themselves.

use std::time::SystemTime;

use realtime_core::NodeId;
use realtime_nats::fuzzing as nats;
use realtime_redis::fuzzing as redis;

/// The first byte chooses the kind of the bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    match first % 4 {
        0 => {
            if let Some(records) = redis::records(data) {
                let bytes: usize = records.iter().map(|(entry, _)| entry.record.bytes().len()).sum();
                assert!(bytes <= data.len());
            }
        }
        1 => {
            if let Some(changes) = redis::changes(data) {
                assert!(changes.iter().map(|(_, change)| change.len()).sum::<usize>() <= data.len());
            }
        }
        2 => check_presences(data),
        _ => check_texts(&String::from_utf8_lossy(data)),
    }
}

fn check_presences(data: &[u8]) {
    let node: NodeId = serde_json::from_str("\"000102030405060708090a0b0c0d0e0f\"").unwrap();
    let read = nats::presences(node, data);
    assert!(read.iter().all(|presence| presence.since >= SystemTime::UNIX_EPOCH));
    let written = nats::stored_presences(node, &read).expect("what was read can be written");
    assert!(written.len() <= 4 * data.len() + 2, "{} bytes of {}", written.len(), data.len());
    assert_eq!(nats::presences(node, &written), read);
}

fn check_texts(text: &str) {
    if let Some(id) = nats::id(text) {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Some((sequence, pending)) = nats::place(text) {
        let has = |number: u64| text.split('.').any(|part| part.trim_start_matches('+').parse() == Ok(number));
        assert!(has(sequence) && has(pending));
    }
}
