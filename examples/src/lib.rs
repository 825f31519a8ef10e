//! Code of an application that notifies, with its tests: see [`Orders`]. The programs are in `src/bin`.

mod orders;

pub use orders::{Order, Orders};
