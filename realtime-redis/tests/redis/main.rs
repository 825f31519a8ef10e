//! The backplane and the directory in Redis: the suites of all of them, and what only a server can
//! suffer. Each test, or each suite, starts a server of its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod check;
mod conformance;
mod directory;
mod faults;
mod lost;
mod moves;
mod nodes;
mod offline;
mod pipe;
mod rooms;
mod server;
mod support;
