//! The provider on real sockets, with clients that behave and clients that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod end;
mod http2;
mod interrupted;
#[cfg(target_os = "linux")]
mod limits;
mod own_route;
mod pipelined;
mod refresh;
mod refusals;
mod resume;
mod slow;
mod stream;
