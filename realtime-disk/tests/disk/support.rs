use std::path::Path;
use std::time::Duration;

use realtime_disk::{DiskBackplane, DiskConfig};

pub(crate) fn open(directory: &Path) -> DiskBackplane {
    open_with(directory, DiskConfig::default())
}

pub(crate) fn open_with(directory: &Path, options: DiskConfig) -> DiskBackplane {
    // A process that another test has just started has this one's lock until it runs.
    let options = options.with_lock_wait(Duration::from_secs(10));
    DiskBackplane::open_with(directory, options).expect("a backplane")
}
