#![doc = include_str!("../README.md")]

mod backplane;
mod connector;
mod directory;
mod entries;
mod error;
mod keys;
mod link;
mod options;
mod pipe;
mod script;
mod server_check;
mod tail;

pub use backplane::RedisBackplane;
pub use directory::RedisDirectory;
pub use options::RedisOptions;
