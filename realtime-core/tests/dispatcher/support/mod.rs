//! A provider without a network on top of the dispatcher, its clients, and helpers for the tests.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "test code, of which each file uses a part"
)]

mod client;
mod codec;
mod guest;
mod log;
mod provider;

pub use client::{Client, Message, Wire};
pub use codec::{LineCodec, parse};
pub use guest::Guest;
pub use log::{Logged, read_log};
pub use provider::{CoreProvider, foreign, note, refused, runtime};
pub use realtime_testkit::{
    AppendFault, DEADLINE as WAIT, FaultyBackplane, FaultyDirectory, SeededRng as Dice, UpdateFault, eventually,
    in_time,
};
