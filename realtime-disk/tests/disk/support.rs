use std::path::Path;
use std::time::Duration;

use realtime_core::spi::Position;
use realtime_disk::{DiskBackplane, DiskConfig};

pub(crate) fn open(directory: &Path) -> DiskBackplane {
    open_with(directory, DiskConfig::default())
}

pub(crate) fn open_with(directory: &Path, options: DiskConfig) -> DiskBackplane {
    // A process that another test has just started has this one's lock until it runs.
    let options = options.with_lock_wait(Duration::from_secs(10));
    DiskBackplane::open_with(directory, options).expect("a backplane")
}

/// Returns the bytes of all files in a directory; some may go meanwhile.
pub(crate) fn size_of_files(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of_files(&entry.path()),
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    };
    entries.flatten().map(size).sum()
}

/// Returns the position of the oldest record in the store of a directory, which nobody has open, or
/// of the last one that is stored together with it.
pub(crate) fn oldest_stored(directory: &Path) -> Position {
    let store = fjall::Database::builder(directory.join("store")).open().unwrap();
    let records = store.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    let key = records.first_key_value().expect("a record").key().unwrap();
    Position::new(u64::from_be_bytes(key.as_ref().try_into().unwrap()))
}
