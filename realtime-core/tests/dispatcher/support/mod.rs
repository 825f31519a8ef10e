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
mod online;
mod provider;
mod sinks;

pub use client::{Client, Message, Wire};
pub use codec::{LineCodec, parse, take_all};
pub use guest::{Guest, expected, outcome};
pub use log::{Logged, read_log};
pub use online::until_online;
pub use provider::{CoreProvider, foreign, note, refused, runtime};
pub use realtime_testkit::{
    AppendFault, DEADLINE, FaultyBackplane, FaultyDirectory, SeededRng, UpdateFault, eventually, in_time,
};
pub use sinks::{Fault, NodeWithSink, Nodes, Sink, pass};
