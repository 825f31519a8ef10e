//! The in-memory log and directory of a node without a backplane.

mod backplane;
mod directory;
mod keys;
mod log;
mod pipe;

pub use backplane::MemoryBackplane;
pub use directory::MemoryDirectory;
pub use log::{Kept, LogBounds, MemoryLog};
pub use pipe::LocalPipe;
