//! The log and what joins nodes: their traits, what a record is, and both in memory.

pub(crate) mod backplane;
pub(crate) mod directory;
pub(crate) mod envelope;
pub(crate) mod memory;
