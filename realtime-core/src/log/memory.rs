//! One node with nothing installed: the in-memory log and directory.

mod backplane;
mod directory;

pub use backplane::MemoryBackplane;
pub use directory::MemoryDirectory;
