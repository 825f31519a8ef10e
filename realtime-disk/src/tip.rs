//! The end of the log as it was last written, in a file of its own: a store that lost records after
//! that is noticed, also when the machine has not been restarted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use realtime_core::EventId;
use realtime_core::spi::{Epoch, Position};

use crate::error::{DiskError, open_file};

const BYTES: usize = 8 + 8 + 16;

/// The file with the end of the log.
pub(crate) struct TipFile(File);

/// The epoch of a log, and the position and id of its newest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    pub(crate) id: EventId,
}

impl TipFile {
    /// Opens the file of a directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, DiskError> {
        open_file(&directory.join("tip")).map(Self)
    }

    /// Reads the tip; `None` if none was written.
    pub(crate) fn read(&self) -> Option<Tip> {
        let mut bytes = [0; BYTES];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        Tip::of(&bytes)
    }

    /// Writes the tip, into the kernel's memory: it survives the process.
    pub(crate) fn write(&self, tip: Tip) {
        // An older tip only says less.
        if let Err(error) = self.0.write_all_at(&tip.bytes(), 0) {
            tracing::debug!(%error, "the end of the log could not be noted");
        }
    }
}

impl Tip {
    /// Reads a tip.
    pub(crate) fn of(bytes: &[u8; BYTES]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes[at..at + 8].try_into().ok()?));
        Some(Self {
            epoch: Epoch::new(number(0)?),
            position: Position::new(number(8)?),
            id: EventId::from_bytes(bytes[16..].try_into().ok()?),
        })
    }

    /// Returns the tip as it is written.
    pub(crate) fn bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.epoch.get().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.position.get().to_be_bytes());
        bytes[16..].copy_from_slice(&self.id.to_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tip_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = TipFile::open(directory.path()).unwrap();
        assert_eq!(file.read(), None);
        let tip = Tip { epoch: Epoch::new(7), position: Position::new(u64::MAX), id: EventId::random() };
        file.write(Tip { position: Position::new(1), ..tip });
        file.write(tip);
        assert_eq!(TipFile::open(directory.path()).unwrap().read(), Some(tip));
    }
}
