//! The in-memory log and directory of a node without a backplane.

mod backplane;
mod directory;
mod keys;

pub use backplane::MemoryBackplane;
pub use directory::MemoryDirectory;
