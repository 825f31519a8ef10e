//! The server below all transports: the listener, its limits and its shutdown.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod guard;
mod idle;
mod listener;
mod pending;
mod rate;
mod serve;
mod shutdown;
#[cfg(feature = "tls")]
mod tls;
