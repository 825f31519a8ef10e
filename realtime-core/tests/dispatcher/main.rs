//! The core behind a provider without a network.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod absence;
mod anew;
mod apply;
mod asks;
mod away;
mod behind;
mod closes;
mod conformance_backplane;
mod conformance_directory;
mod conformance_session;
mod conformance_sink;
mod cuts;
mod directory;
mod drain;
mod dropped;
mod inbound;
mod latest;
mod life;
mod lifecycle;
mod limits;
mod nodes;
mod panics;
mod pipe;
mod registration;
mod rooms;
mod sends;
mod stress;
mod tenants;
mod window;
mod workers;
