//! A model test of the `realtime-*` crates.
//!
//! From a seed follows a [`Schedule`]: publishing, connecting, cuts at any byte, stalls, joins and
//! leaves, asks, restarts, logs that lose records. It is played against real providers (their routers behind hyper, over wires
//! in memory, in simulated time), and everything a client receives is held against a simple
//! reference: a list of records, who was where when, and from that who must see what.
//!
//! What a client may see is decided in `log`, what it does see is held against that in `hear` and `gaps`, what a sender is
//! told in `receipts`, what the windows of several providers have in `shared`, and `world` lets it all happen.

mod asks;
mod calls;
mod campaign;
mod conn;
mod coverage;
mod faults;
mod forgery;
mod frame_probe;
mod generate;
mod log;
mod log_spy;
mod pipe;
mod player;
mod reference;
mod rng;
mod rooms;
mod run;
mod schedule;
mod server;
mod steps;
mod users;
mod world;

pub use campaign::{Campaign, Report};
pub use coverage::Coverage;
pub use realtime_wire::Transport;
pub use run::{Failure, Outcome, run, show};
pub use schedule::Schedule;
