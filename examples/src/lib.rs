//! Code of an application that notifies, with its tests: see [`orders`](crate::Orders). The programs are in `src/bin`.

mod orders;

pub use orders::{Order, Orders};
