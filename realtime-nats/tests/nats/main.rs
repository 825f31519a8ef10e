//! The backplane and the directory in NATS: the suites of all of them, and what only a server can
//! suffer. Each test, or each suite, starts a server of its own: `nats-server` of the `PATH`, or
//! the one that `NATS_SERVER` names.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod check;
mod cluster;
mod conformance;
mod directory;
mod faults;
mod figures;
mod lost;
mod nodes;
mod offline;
mod operator;
mod pipe;
mod rooms;
mod server;
mod support;
