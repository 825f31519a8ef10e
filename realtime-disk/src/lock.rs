//! The lock of a store's directory: one process at a time.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{DiskError, open_file};

/// The interval between attempts.
const RETRY: Duration = Duration::from_millis(20);

/// The lock of a directory, until it is dropped or the process ends.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl Lock {
    /// Locks a directory; waits this long for another process that has it.
    pub(crate) fn acquire(directory: &Path, wait: Duration) -> Result<Self, DiskError> {
        let path = directory.join("lock");
        let begun = Instant::now();
        let mut file = open_file(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(DiskError::Io { path, error }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < wait => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    // Without a readable number the error does without it.
                    let _ = file.read_to_string(&mut pid);
                    return Err(DiskError::Locked { path: directory.to_owned(), pid: pid.trim().parse().ok() });
                }
            }
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // The number is only for the error above: a full disk must not keep the log from being
        // read.
        if let Err(error) = write(&mut file) {
            tracing::debug!(%error, path = %path.display(), "the process could not be noted");
        }
        Ok(Self(file))
    }
}
