//! The backplane on disk: the suite of all backplanes, restarts, crashes, damage and a full disk.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod conformance;
mod crash;
mod full;
mod lock;
mod restart;
mod support;
mod tables;
