//! The schedules that CI runs: many, on every transport, and the same ones twice.

use realtime_model::{Campaign, Transport, run};

#[test]
fn every_client_receives_what_the_reference_says() {
    let report = Campaign::default().run();
    println!("{}", report.coverage);
    if let Some(failure) = report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.schedules, 2_000);
    let missing = report.coverage.missing(&Transport::ALL);
    assert!(missing.is_empty(), "the schedules never reach {missing:?}");
}

#[test]
fn several_nodes_do_what_their_log_says() {
    let report = Campaign { schedules: Campaign::NODES, ..Campaign::default() }.run_nodes();
    println!("{}", report.coverage);
    if let Some(failure) = report.failure {
        panic!("{failure}");
    }
    let missing = report.coverage.missing();
    assert!(missing.is_empty(), "the schedules never reach {missing:?}");
}

#[test]
fn seed_leads_to_one_outcome() {
    for seed in 0..60 {
        let digests = [(); 2].map(|()| match run(seed, None, false) {
            Ok(outcome) => outcome.digest,
            Err(failure) => panic!("{failure}"),
        });
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}
