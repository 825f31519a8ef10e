//! Small programs, one idea each: `cargo run -p realtime-examples --bin NAME` prints the address
//! and a line to try.
//!
//! - `dashboard`: metrics over Server-Sent Events, to everyone and to a room, with a page
//! - `chat`: users of Server-Sent Events, WebSocket and Socket.IO talk to each other in one room
//! - `typing`: rooms of tenants by a policy, messages to the others, volatile typing indicators
//! - `echo`: WebSocket messages outside the envelope, text and binary
//! - `rooms`: Socket.IO rooms, and acks in both directions
//! - `domain_events`: a subscriber that turns domain events into notifications
//! - `own_route`: own routes with an own extractor in front of the providers
//! - `configured`: the provider is named by a flag, the environment or a file
//! - `otlp`: traces over two nodes, sent to a collector of OpenTelemetry
//!
//! The tests of [`Orders`], in `src/orders/tests.rs`, show how to test with a recorder and with
//! mocks.

use std::io::IsTerminal;
use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

mod orders;

pub use orders::{Order, Orders};

/// Writes the log to stderr: from INFO on, or as `RUST_LOG` says.
pub fn start_log() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colored = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colored).init();
}

/// Returns a shell line that shows the first event of Socket.IO without its client: a session over
/// long polling, the CONNECT of a user, and its first events.
#[must_use]
pub fn socket_io_by_hand(address: SocketAddr) -> String {
    format!(
        "u='http://{address}/socket.io/?EIO=4&transport=polling'; s=$(curl -s \"$u\" | sed 's/.*\"sid\":\"//; s/\".*//'); \
         curl -s -d '40{{\"user\":\"ann\"}}' \"$u&sid=$s\"; curl -s \"$u&sid=$s\"; curl -s \"$u&sid=$s\""
    )
}
