//! Runs of schedules with several nodes.

use std::fmt;

use crate::nodes::coverage::NodesCoverage;
use crate::nodes::schedule::NodesSchedule;
use crate::nodes::world::World;
use crate::run::{in_paused_time, shrink};

/// A run in which something was wrong.
#[derive(Clone, Debug)]
pub struct NodesFailure {
    /// The error.
    pub what: String,
    /// The schedule, or the rest of it after shrinking.
    pub schedule: NodesSchedule,
    /// The trace of the run.
    trace: Vec<String>,
}

/// Runs the schedule of a seed.
///
/// # Errors
/// The failure; if it shrinks, with the smallest part of the schedule that was found to show it.
pub fn run_nodes(seed: u64, shrinks: bool) -> Result<NodesCoverage, Box<NodesFailure>> {
    let schedule = NodesSchedule::of(seed);
    play(&schedule, false).0.map_err(|what| {
        let mut failure = NodesFailure { what, schedule, trace: Vec::new() };
        if shrinks {
            let mut rest = failure.schedule.clone();
            failure.schedule.steps = shrink(failure.schedule.steps, |steps| {
                rest.steps = steps.to_vec();
                play(&rest, false).0.is_err()
            });
        }
        let (result, trace) = play(&failure.schedule, true);
        failure.trace = trace;
        match result {
            Err(what) => failure.what = what,
            Ok(_) => failure.what += " (but not when it is run again)",
        }
        Box::new(failure)
    })
}

/// Returns the schedule of a seed, and the trace of its run.
#[must_use]
pub fn show_nodes(seed: u64) -> String {
    let schedule = NodesSchedule::of(seed);
    let (result, trace) = play(&schedule, true);
    let end = result.map_or_else(|what| what, |_| "as it must be".to_owned());
    format!("{schedule}\n{}\n{end}", trace.join("\n"))
}

fn play(schedule: &NodesSchedule, traced: bool) -> (Result<NodesCoverage, String>, Vec<String>) {
    let mut trace = Vec::new();
    let result = in_paused_time(async {
        let mut world = World::new(schedule, traced).await;
        let steps = async {
            for (number, step) in schedule.steps.iter().enumerate() {
                world.note(|| format!("{number} {step:?}"));
                world.step(step).await.map_err(|what| format!("in step {number}: {what}"))?;
            }
            Ok(())
        };
        let result = steps.await;
        world.finish();
        trace = world.trace.take().unwrap_or_default();
        result.map(|()| std::mem::take(&mut world.coverage))
    });
    (result, trace)
}

impl fmt::Display for NodesFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, schedule, trace } = self;
        writeln!(f, "seed {} (nodes): {what}", schedule.seed)?;
        writeln!(f, "replay: cargo run -p realtime-model -- --nodes --seed {}", schedule.seed)?;
        writeln!(f, "\nwhat is left of the schedule:\n{schedule}\nwhat happened:")?;
        trace.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\n{what}")
    }
}
