#![doc = include_str!("../README.md")]

mod backplane;
mod error;
mod lock;
mod options;
mod store;
mod tip;
mod writer;

pub use backplane::DiskBackplane;
pub use options::{DiskOptions, Sync};
