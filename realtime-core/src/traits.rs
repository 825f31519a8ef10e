//! The traits that applications and providers implement, their arguments, and the runtime that a
//! service gives its providers.

pub(crate) mod auth;
pub(crate) mod broadcast;
pub(crate) mod codec;
pub(crate) mod context;
mod detached;
pub(crate) mod handler;
pub(crate) mod handlers;
pub(crate) mod lifecycle;
pub(crate) mod offline;
pub(crate) mod outgoing;
pub(crate) mod outlet;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod raw;
pub(crate) mod router;
pub(crate) mod runtime;
pub(crate) mod token_source;
pub(crate) mod tokens;
