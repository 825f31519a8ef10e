//! Fuzz targets of every decoder that reads bytes of clients, proxies, brokers or disks, and of the
//! encoders whose output clients parse.
//!
//! A [`Target`] takes any bytes and panics when something does not hold. The same targets run
//! guided by coverage (`scripts/fuzz`), and as tests over the kept corpus and generated inputs.

#![allow(clippy::unwrap_used, reason = "a target may panic")]

mod corpus;
mod frames;
mod pieces;
mod targets;

pub use corpus::corpus;
pub use targets::{TARGETS, Target};
