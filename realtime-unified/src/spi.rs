//! The names that only authors of providers, backplanes and fakes need: those of
//! [`realtime_core::spi`], and what a service requires of them in addition.

pub use realtime_core::spi::*;
pub use realtime_http::HttpProvider;

pub use crate::fakes::Fakes;
