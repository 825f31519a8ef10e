//! The shared parts of the smoke tests: a program under test, and a Socket.IO client of raw HTTP
//! requests.

mod polling;
mod program;

pub(crate) use polling::Polling;
pub(crate) use program::{Program, refused, shell};

pub(crate) use realtime_testkit::in_time as within;

/// Returns a client for plain requests.
pub(crate) fn http() -> reqwest::Client {
    // Loopback needs no proxy, and a test must not depend on the environment's.
    reqwest::Client::builder().no_proxy().build().unwrap()
}
