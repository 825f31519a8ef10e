//! The provider on real sockets, with clients that behave and clients that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod bad_input;
mod delivery;
mod handshake;
mod interrupted;
#[cfg(target_os = "linux")]
mod limits;
mod messages;
#[cfg(unix)]
mod paused;
mod rates;
mod rooms;
mod subprotocols;
