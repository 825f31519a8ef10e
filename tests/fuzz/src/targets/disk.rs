//! The data that a log has on its disk.

use std::time::{Duration, UNIX_EPOCH};

use realtime_disk::fuzzing::{add, key, records, stored_key, tip};

/// The first byte chooses the kind of the bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    match first % 3 {
        0 => check_records(data),
        1 => check_key(data),
        _ => {
            if let Some((_, bytes)) = tip(data) {
                assert_eq!(bytes, data);
            }
        }
    }
}

fn check_records(data: &[u8]) {
    let Some(read) = records(data) else {
        assert!(data.first() != Some(&0) || data.len() < 24, "a record that is stored alone is not read");
        return;
    };
    let mut again = Vec::new();
    for (id, at, content) in &read {
        add(&mut again, *at, *id, content);
    }
    let read_again = records(&again).expect("what was written is read");
    assert_eq!(read_again.len(), read.len());
    for ((id, at, content), (id_again, at_again, content_again)) in read.iter().zip(&read_again) {
        assert_eq!((id_again, at_again), (id, at));
        assert_eq!(content_again.bytes(), content.bytes());
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
