//! A server on a free port and a small Socket.IO client, written from the protocols' descriptions.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses a part of it")]

mod client;
mod packet;
mod polling;
mod server;
mod websocket;

pub use client::{Client, Closed, Transport, Wire};
pub use packet::{Message, Packet};
pub use polling::Polling;
pub use realtime_testkit::{DEADLINE, eventually, in_time};
pub use server::{Server, Setup, event, id_in, on_slow, runtime};
pub use websocket::Websocket;
