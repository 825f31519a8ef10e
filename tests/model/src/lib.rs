//! A model test of the `realtime-*` crates.
//!
//! From a seed follows a [`Schedule`]: publishing, connecting, disconnecting after any byte,
//! stalls, joins and leaves, asks, restarts, logs that lose records. It is played against real
//! providers: their routers behind hyper, over connections in memory, in simulated time. Everything
//! that a client receives is compared with a simple reference: a list of records, the rooms of
//! users over time, and from that who must see what.
//!
//! `log` decides what a client may see; `reference` compares what it does see (`observe`, `gaps`),
//! what a sender receives (`receipts`) and what the windows of several providers hold (`windows`)
//! with that; and `world` runs it all. `nodes` is a family of schedules of its own, with several
//! nodes.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
mod nodes;
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

pub use campaign::{Campaign, NodesReport, Report};
pub use coverage::Coverage;
pub use nodes::{NodesCoverage, NodesFailure, NodesSchedule, run_nodes, show_nodes};
pub use realtime_wire::Transport;
pub use run::{Failure, Outcome, run, show};
pub use schedule::Schedule;

/// Locks a mutex, whether or not a thread has panicked with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
