//! Schedules with one to three nodes, over a simulated broker and a simulated directory.
//!
//! `broker` keeps the only log and loses records of it; `link` and `directory` are what a node sees
//! of both, with faults of its own; `truth` is the tree of all records that ever were; `client`
//! compares what a client receives with a path in it; `look` checks outcomes of calls, ends of
//! rooms and that nothing is missing at rest; `world` and `steps` run it all.

mod broker;
mod calls;
mod client;
mod coverage;
mod directory;
mod generate;
mod link;
mod look;
mod node;
mod run;
mod schedule;
mod steps;
mod truth;
mod world;

pub use coverage::NodesCoverage;
pub use run::{NodesFailure, run_nodes, show_nodes};
pub use schedule::NodesSchedule;
