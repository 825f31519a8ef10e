#![doc = include_str!("../README.md")]

mod backplane;
mod config;
mod error;
mod lock;
mod revoked;
mod store;
mod tip;
mod writer;

pub use backplane::DiskBackplane;
pub use config::{DiskConfig, SyncMode};
