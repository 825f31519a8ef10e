//! Benchmarks of the `realtime-*` crates: servers in processes of their own, and cheap clients that
//! load them.
//!
//! - [`server`]: the server process, ours or a [`peer`], with its control port.
//! - [`child`]: such a process, started and ended by the program that measures it.
//! - [`broker`]: a broker's process; [`socketio`]: nodes of the official Socket.IO server;
//!   [`pair`]: a node that publishes and one that delivers, of ours or of theirs.
//! - [`client`]: raw clients of the three transports; [`swarm`] holds many of them.
//! - [`crowd`]: many clients that reconnect by themselves; [`relay`]: one port in front of several
//!   servers; [`closings`]: the distribution of closed connections over time.
//! - [`lane`]: a server with its swarm, and the CPU of a delivery; `callgrind`: its instructions;
//!   [`contest`] and [`turns`]: several of them, or two, in turns; [`load`]: a server under a
//!   steady load, with and without clients that misbehave.
//! - [`returner`]: a client that is disconnected and resumes; [`straggler`]: one that stalls and
//!   catches up; [`sequence`]: the check that it lost nothing.
//! - [`process`], [`deliveries`], [`figures`], [`payload`]: the measured values.
//! - [`program`]: the frame of every program; [`report`]: its output.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod broker;
mod callgrind;
pub mod child;
pub mod client;
pub mod closings;
pub mod contest;
pub mod crowd;
pub mod deliveries;
pub mod figures;
pub mod lane;
pub mod load;
pub mod pair;
pub mod payload;
pub mod peer;
pub mod process;
pub mod program;
pub mod relay;
pub mod report;
pub mod returner;
pub mod sequence;
pub mod server;
pub mod socketio;
pub mod straggler;
pub mod swarm;
pub mod turns;

/// Any error: these programs only print it and end.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Locks a mutex, whether or not a thread has panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
