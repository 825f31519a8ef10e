//! Tests of the dispatcher, through a provider without a network.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod absence;
mod ahead;
mod apply;
mod asks;
mod asks_on_nodes;
mod away;
mod behind;
mod closes;
mod conformance;
mod credentials;
mod cursors;
mod directory;
mod drain;
mod dropped;
mod inbound;
mod interrupted;
mod latest;
mod lifecycle;
mod limits;
mod limits_on_nodes;
mod log_faults;
mod lost_log;
mod new_epoch;
mod nodes;
mod offline;
mod offline_on_nodes;
mod online;
mod panics;
mod pipe;
mod rates;
mod registration;
mod rooms;
mod sends;
mod stress;
mod tenants;
mod versions;
mod window;
mod workers;
