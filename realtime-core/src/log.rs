//! The log and what joins nodes: their traits, what a record is, a node's side of it, and both in memory.

mod append;
mod apply;
pub(crate) mod ask;
mod backoff;
pub(crate) mod backplane;
pub(crate) mod directory;
pub(crate) mod envelope;
pub(crate) mod feed;
mod follow;
pub(crate) mod handle;
pub(crate) mod memory;
mod pipe;
pub(crate) mod record;
pub(crate) mod repeat;
mod rooms;
mod send;
pub(crate) mod shared;
pub(crate) mod stored;
pub(crate) mod tracker;
