//! The provider on real sockets: what a client can do, and what it can do wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod end;
#[cfg(target_os = "linux")]
mod limits;
mod own_route;
mod pipelined;
mod refusals;
mod resume;
mod slow;
mod stream;
