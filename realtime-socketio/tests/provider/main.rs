//! Tests of the provider on real sockets: correct clients and faulty ones.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod asks;
mod burst;
mod close;
mod connect_timeout;
mod flood;
mod handlers;
mod heartbeat;
mod http;
mod interrupted;
mod kicked;
mod lenient;
mod malformed;
mod names;
mod namespaces;
mod probe;
mod query;
mod rates;
mod repeats;
mod resume;
mod secret;
mod size;
mod slow;
mod stalled;
mod unconnected;
mod user_limit;

use support::Transport;

/// Both transports, for tests that do the same on each.
const TRANSPORTS: [Transport; 2] = [Transport::Polling, Transport::Websocket];
