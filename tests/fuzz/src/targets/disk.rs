//! What a log has on its disk.

use std::time::{Duration, UNIX_EPOCH};

use realtime_core::spi::Stored;
use realtime_disk::fuzzing::{key, record, stored, stored_key, tip};

/// The first byte chooses the kind of the bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    match first % 3 {
        0 => check_record(data),
        1 => check_key(data),
        _ => {
            if let Some((_, bytes)) = tip(data) {
                assert_eq!(bytes, data);
            }
        }
    }
}

fn check_record(data: &[u8]) {
    let Some((id, at, content)) = record(data) else {
        assert!(data.len() < 24, "a record is not read");
        return;
    };
    let again = stored(at, id, content.bytes());
    assert_eq!(again[..24], data[..24]);
    let (id_again, at_again, content_again) = record(&again).expect("what was written is read");
    assert_eq!((id_again, at_again), (id, at));
    match content {
        Stored::Value(value) => assert_eq!(content_again, Stored::Value(value)),
        // A record of another version is kept as it is.
        _ => assert_eq!(again, data),
    }
}

fn check_key(data: &[u8]) {
    let (name, value) = data.split_at(data.len().min(16));
    let Some((read, position, id)) = key(name, value) else {
        assert!(name.len() < 16 || value.len() < 48, "a key is not read");
        return;
    };
    assert_eq!(read.key, name);
    assert_eq!(stored_key(&read, position, id, UNIX_EPOCH + read.keep), value[..48]);
    assert!(read.keep <= Duration::from_millis(u64::MAX));
}
