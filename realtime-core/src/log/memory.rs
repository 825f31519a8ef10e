//! One node with nothing installed: the in-memory log and directory.

mod backplane;
mod directory;
mod keys;

pub use backplane::MemoryBackplane;
pub use directory::MemoryDirectory;
