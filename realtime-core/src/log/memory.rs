//! The in-memory log and directory of a node without a backplane.

mod backplane;
mod bounds;
mod directory;
mod keys;
mod log;
mod pipe;
mod records;
mod tail;

pub use backplane::MemoryBackplane;
pub use bounds::LogBounds;
pub use directory::MemoryDirectory;
pub use log::MemoryLog;
pub use pipe::LocalPipe;
pub use records::Kept;
