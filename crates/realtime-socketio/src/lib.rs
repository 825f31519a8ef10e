//! Socket.IO provider of the `realtime-*` crates.

mod adapter;
mod args;
mod carrier;
mod carriers;
mod connect;
mod credit;
mod encoded;
mod inbound;
mod post;
mod pump;
mod scan;
mod server;
mod service;
mod stream;

pub use adapter::{AskError, DirectAdapter, MainAdapter, Refused};
pub use args::{Arguments, MalformedPacket};
pub use carrier::{Carrier, Cause};
pub use connect::{Accepted, Acceptor, Ended, Offer, OnEnded};
pub use credit::Window;
pub use encoded::{Encoded, Part};
pub use inbound::{Inlet, Malformed, Received};
pub use pump::{Farewell, Frame, Source};
pub use server::{EngineConfig, Server};
pub use service::EngineService;
