//! Every target over its kept corpus, and over inputs that are generated from it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod generate;

use realtime_fuzz::{TARGETS, Target, corpus};
use realtime_testkit::SeededRng;

use crate::generate::Generator;

const GENERATED: usize = 3_000;
/// The bounds of what is kept, in bytes.
const MAX_INPUT: usize = 4 * 1024;
const MAX_CORPUS: usize = 500 * 1024;

#[test]
fn targets_hold_over_the_corpus_and_generated_inputs() {
    let mut rng = SeededRng::new("corpus");
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        inputs.iter().for_each(|(name, input)| run(target, name, input));
        let mut generator = Generator::new(rng.split(), inputs.into_iter().map(|(_, input)| input));
        for _ in 0..GENERATED {
            run(target, "generated", &generator.input());
        }
    }
}

/// Runs a target, and shows the input before a panic goes on.
fn run(target: &Target, name: &str, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    if let Err(panic) = outcome {
        println!("{} fails over {name}: {}", target.name, input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn kept_inputs_are_small() {
    let mut total = 0;
    for target in TARGETS {
        for (name, input) in corpus(target) {
            assert!(input.len() < MAX_INPUT, "{}/{name} has {} bytes", target.name, input.len());
            total += input.len();
        }
    }
    assert!(total < MAX_CORPUS, "{total} bytes");
}
