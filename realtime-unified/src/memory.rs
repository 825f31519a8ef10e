//! The log and the directory of one node in its memory, which a service has by default.

pub use realtime_core::{MemoryBackplane, MemoryDirectory};
