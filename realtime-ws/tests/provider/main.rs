//! The provider on real sockets: what a client can do, and what it can do wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod bad_input;
mod cut;
mod delivery;
mod handshake;
#[cfg(target_os = "linux")]
mod limits;
mod messages;
#[cfg(unix)]
mod paused;
