//! The log and the traits that connect nodes: records, a node's side of the log, and the in-memory
//! implementations.

mod append;
mod apply;
pub(crate) mod ask;
pub(crate) mod backoff;
pub(crate) mod backplane;
mod collect;
mod collector;
mod counters;
pub(crate) mod directory;
pub(crate) mod envelope;
mod extent;
pub(crate) mod feed;
mod follow;
pub(crate) mod handle;
mod health;
pub(crate) mod memory;
mod once;
mod online;
mod pipe;
pub(crate) mod presence;
mod probes;
mod publish;
pub(crate) mod reconnecting;
pub(crate) mod record;
pub(crate) mod repeat;
pub(crate) mod report;
mod reporter;
pub(crate) mod room_edit;
pub(crate) mod room_table;
mod rooms;
mod send;
pub(crate) mod shared;
mod stats;
pub(crate) mod stored;
pub(crate) mod tracker;
