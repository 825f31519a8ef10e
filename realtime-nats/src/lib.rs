#![doc = include_str!("../README.md")]

mod api;
mod append;
mod backplane;
mod clock;
mod config;
mod connector;
mod deadline;
mod directory;
mod error;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keys;
mod life;
mod link;
mod pipe;
mod reader;
mod record;
mod revoked;
mod rooms;
mod server_check;
mod store;
mod streams;
mod tail;
mod upkeep;

pub use backplane::NatsBackplane;
pub use config::NatsConfig;
pub use directory::NatsDirectory;
