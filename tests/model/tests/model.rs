//! What CI runs of the model: many schedules, on every transport, and the same ones twice.

use std::time::Duration;

use realtime_model::{Campaign, Transport, run};

#[test]
fn every_client_sees_what_the_model_says_or_is_told_that_it_could_not() {
    let campaign =
        Campaign { first: 0, schedules: 2_000, time: Duration::MAX, transport: None, threads: 2, shrinks: true };
    let report = campaign.run();
    println!("{}", report.coverage);
    if let Some(failure) = report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.schedules, 2_000);
    let missing = report.coverage.missing(&Transport::ALL);
    assert!(missing.is_empty(), "the schedules never reach {missing:?}");
}

#[test]
fn a_seed_leads_to_one_outcome() {
    for seed in 0..60 {
        let heard = [(); 2].map(|()| match run(seed, None, false) {
            Ok(outcome) => outcome.digest,
            Err(failure) => panic!("{failure}"),
        });
        assert_eq!(heard[0], heard[1], "seed {seed}");
    }
}
