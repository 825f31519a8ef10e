//! Runs of schedules: one, many, and the smallest that still fails.

use std::cell::RefCell;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use realtime_wire::Transport;

use crate::coverage::Coverage;
use crate::schedule::Schedule;
use crate::world::World;

/// The result of a run without a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The situations that were reached.
    pub coverage: Coverage,
    /// A fingerprint of everything that the clients have received, the same in every run of the
    /// schedule.
    pub digest: u64,
}

/// A run in which something was wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The error.
    pub what: String,
    /// The schedule, or the rest of it after shrinking.
    pub schedule: Schedule,
    /// The transport that was asked for.
    transport: Option<Transport>,
    /// The trace of the run.
    trace: Vec<String>,
}

/// The result and the trace of a run.
type End = (Result<Outcome, String>, Vec<String>);

thread_local! {
    /// The panics of this thread's tasks while a schedule is played, which would go unnoticed in
    /// their runtime.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs the schedule of a seed, on its own transport or on this one.
///
/// # Errors
/// The failure; if it shrinks, with the smallest part of the schedule that was found to show
/// it.
pub fn run(seed: u64, transport: Option<Transport>, shrinks: bool) -> Result<Outcome, Box<Failure>> {
    let schedule = Schedule::of(seed, transport);
    let (result, _) = play(&schedule, false);
    result.map_err(|what| {
        let mut failure = Failure { what, schedule, transport, trace: Vec::new() };
        if shrinks {
            failure.shrink();
        }
        failure.show();
        Box::new(failure)
    })
}

/// Returns the schedule of a seed, and the trace of its run.
#[must_use]
pub fn show(seed: u64, transport: Option<Transport>) -> String {
    let schedule = Schedule::of(seed, transport);
    let (result, trace) = play(&schedule, true);
    let end = result.map_or_else(|what| what, |outcome| format!("as it must be; fingerprint {:x}", outcome.digest));
    format!("{schedule}\n{}\n{end}", trace.join("\n"))
}

fn play(schedule: &Schedule, traced: bool) -> End {
    let mut trace = Vec::new();
    let result = in_paused_time(act(schedule, traced, &mut trace));
    (result, trace)
}

/// Runs a future in a runtime of its own whose time is paused; a panic of one of its tasks, which
/// would go unnoticed there, is an error too.
pub(crate) fn in_paused_time<T>(run: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => panics.push(panic.to_string()),
                None => before(panic),
            });
        }));
    });
    PANICS.set(Some(Vec::new()));
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(run)
    }));
    let panics = PANICS.take().unwrap_or_default();
    match played {
        _ if !panics.is_empty() => Err(format!("a panic: {}", panics.join("; "))),
        Ok(result) => result,
        Err(_) => Err("a panic".to_owned()),
    }
}

/// Drops steps for as long as the rest still fails; returns the rest.
pub(crate) fn shrink<T: Clone>(mut steps: Vec<T>, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    /// The largest number of runs that it may take.
    const MOST: usize = 400;
    let mut runs = 0;
    let mut size = steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut smaller = false;
        while at < steps.len() && runs < MOST {
            let mut rest = steps.clone();
            rest.drain(at..(at + size).min(rest.len()));
            runs += 1;
            if fails(&rest) {
                steps = rest;
                smaller = true;
            } else {
                at += size;
            }
        }
        if runs >= MOST || size == 1 && !smaller {
            return steps;
        }
        size = size.div_ceil(2);
    }
}

async fn act(schedule: &Schedule, traced: bool, trace: &mut Vec<String>) -> Result<Outcome, String> {
    let mut world = World::new(schedule, traced).await?;
    let steps = async {
        for (number, step) in schedule.steps.iter().enumerate() {
            world.note(|| format!("{number} {step:?}"));
            world.step(step).await.map_err(|what| format!("in step {number}: {what}"))?;
        }
        world.note(|| "finish".to_owned());
        world.finish().await.map_err(|what| format!("at the end: {what}"))
    };
    let result = steps.await;
    *trace = world.trace.take().unwrap_or_default();
    result.map(|()| Outcome { coverage: world.reference.coverage, digest: world.digest.value() })
}

impl Failure {
    /// Drops steps for as long as the rest still fails.
    fn shrink(&mut self) {
        let mut rest = self.schedule.clone();
        self.schedule.steps = shrink(std::mem::take(&mut self.schedule.steps), |steps| {
            rest.steps = steps.to_vec();
            play(&rest, false).0.is_err()
        });
    }

    /// Runs it once more and keeps the trace.
    fn show(&mut self) {
        let (result, trace) = play(&self.schedule, true);
        self.trace = trace;
        match result {
            Err(what) => self.what = what,
            Ok(_) => self.what += " (but not when it is run again: it does not follow from the seed alone)",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, schedule, transport, trace } = self;
        let transport = transport.map(|transport| format!(" --transport {transport}")).unwrap_or_default();
        writeln!(f, "seed {} ({}): {what}", schedule.seed, schedule.setup.transport)?;
        writeln!(f, "replay: cargo run -p realtime-model -- --seed {}{transport}", schedule.seed)?;
        writeln!(f, "\nwhat is left of the schedule:\n{schedule}\nwhat happened:")?;
        trace.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\n{what}")
    }
}
