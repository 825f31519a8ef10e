//! No event reaches a connection that its target does not name: random identities, rooms and
//! targets over every transport, live and resumed, on one node and on two.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic")]

mod network;
mod oracle;
mod schedule;
mod sinks;
mod world;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::schedule::schedules;
use crate::world::{Door, play};

/// The numbers of cases; `CASES` multiplies them.
const SINKS: u32 = 192;
const NETWORK: u32 = 16;

#[test]
fn events_reach_only_those_they_are_for() {
    run(SINKS, 3, false, || sinks::Sinks);
}

#[test]
fn events_reach_only_those_they_are_for_over_the_network() {
    run(NETWORK, 4, true, || network::Network);
}

fn run<D: Door>(cases: u32, transports: usize, served: bool, door: impl Fn() -> D) {
    let times = std::env::var("CASES").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let config = ProptestConfig { cases: cases * times, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&schedules(transports), |schedule| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&schedule, door(), served));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
