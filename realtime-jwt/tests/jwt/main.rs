//! Tests of the authenticator with keys and tokens of all kinds, and of key sets over HTTP.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod attacks;
mod claims;
mod keys;
mod places;
mod rotation;
mod support;
