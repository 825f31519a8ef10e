//! A server on a free port and a small Socket.IO client, written from the protocols' descriptions.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses a part of it")]

mod client;
mod packet;
mod polling;
mod server;
mod websocket;

use std::time::Duration;

pub use client::{Client, Closed, Transport, Wire};
pub use packet::{Message, Packet};
pub use polling::Polling;
pub use server::{Server, Setup, event, runtime};
pub use websocket::Websocket;

/// How long anything may take on a loaded machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come, with a deadline.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come"),
    }
}

/// Looks until it is so, with a deadline.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
