#![doc = include_str!("../README.md")]

mod backplane;
mod config;
mod error;
mod format;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod lock;
mod records;
mod request;
mod revoked;
mod store;
mod tip;
mod writer;

pub use backplane::DiskBackplane;
pub use config::{DiskConfig, SyncMode};
