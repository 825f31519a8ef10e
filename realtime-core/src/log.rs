//! The log and the traits that connect nodes: records, a node's side of the log, and the in-memory
//! implementations.

mod append;
mod apply;
pub(crate) mod ask;
mod backoff;
pub(crate) mod backplane;
mod collect;
mod collector;
pub(crate) mod directory;
pub(crate) mod envelope;
pub(crate) mod feed;
mod follow;
pub(crate) mod handle;
mod health;
pub(crate) mod memory;
mod online;
mod pipe;
pub(crate) mod presence;
mod probes;
mod publish;
pub(crate) mod record;
pub(crate) mod refresh;
mod refresher;
pub(crate) mod repeat;
pub(crate) mod report;
mod reporter;
pub(crate) mod revocations;
mod revoke;
pub(crate) mod room_edit;
pub(crate) mod room_table;
mod rooms;
mod send;
pub(crate) mod shared;
pub(crate) mod stored;
pub(crate) mod tracker;
