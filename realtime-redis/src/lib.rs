#![doc = include_str!("../README.md")]

mod backplane;
mod config;
mod connector;
mod directory;
mod entries;
mod error;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keys;
mod limit;
mod link;
mod pipe;
mod revoked;
mod script;
mod server_check;
mod source;
mod tail;

pub use backplane::RedisBackplane;
pub use config::RedisConfig;
pub use directory::RedisDirectory;
