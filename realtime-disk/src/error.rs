use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use realtime_core::Error;

/// The reason why a store cannot be used; reaches applications as the source of
/// [`Error::Backplane`], or as the text of [`Error::Config`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is in use{}", pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked { path: PathBuf, pid: Option<u32> },
    #[error("{path} was written by another build: it has format {found}, and this build reads format {known}")]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error("{path} is damaged: {what}; restore a copy of the directory, or remove it to begin an empty log")]
    Damaged { path: PathBuf, what: String },
    #[error("the store cannot be read or written: {0}")]
    Store(#[from] fjall::Error),
    #[error("the store is being opened again after a failed write")]
    Reopening,
    #[error("too many appends wait for the disk")]
    Overloaded,
    #[error("the backplane is closed")]
    Closed,
}

impl DiskError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Locked { .. } | DiskError::Format { .. } | DiskError::Damaged { .. } => {
                Self::Config(error.to_string())
            }
            _ => Self::Backplane(Box::new(error)),
        }
    }
}

/// Opens a file to read and write it, and creates it if it is missing.
pub(crate) fn open_file(path: &Path) -> Result<File, DiskError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(DiskError::io(path))
}
