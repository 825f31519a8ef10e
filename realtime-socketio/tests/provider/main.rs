//! The provider on real sockets: what a client can do, and what it can do wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod asks;
mod burst;
mod cut;
mod end;
mod flood;
mod handlers;
mod heartbeat;
mod http;
mod kicked;
mod late;
mod lenient;
mod limit;
mod lost;
mod malformed;
mod names;
mod namespaces;
mod probe;
mod query;
mod resume;
mod secret;
mod size;
mod slow;
mod stuck;

use support::Transport;

/// Both transports, for tests that do the same on each.
const TRANSPORTS: [Transport; 2] = [Transport::Polling, Transport::Websocket];
