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
pub use server::{Server, Setup, event, on_slow, runtime};
pub use websocket::Websocket;

/// The time limit of a single step, with reserve for a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a future, with a deadline.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// Checks a condition until it holds, with a deadline.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
