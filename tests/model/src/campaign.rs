//! Many schedules, on several threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::lock;
use crate::nodes::{NodesCoverage, NodesFailure, run_nodes};
use crate::run::{Failure, run};
use realtime_wire::Transport;

/// Schedules to be run, one after the other from a first seed on.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed; the next ones follow.
    pub first: u64,
    /// The largest number of schedules.
    pub schedules: u64,
    /// The duration; a schedule that has begun is finished.
    pub time: Duration,
    /// The transport to use for all; each schedule's own if `None`.
    pub transport: Option<Transport>,
    /// The number of threads, each with schedules of its own.
    pub threads: usize,
    /// `true` if a failing schedule is shrunk.
    pub shrinks: bool,
}

/// The result of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of schedules that were run.
    pub schedules: u64,
    /// The situations that they reached.
    pub coverage: Coverage,
    /// The first failure; no schedule is begun after it.
    pub failure: Option<Box<Failure>>,
}

/// The result of a campaign with several nodes.
#[derive(Debug, Default)]
pub struct NodesReport {
    /// The number of schedules that were run.
    pub schedules: u64,
    /// The situations that they reached.
    pub coverage: NodesCoverage,
    /// The first failure; no schedule is begun after it.
    pub failure: Option<Box<NodesFailure>>,
}

impl Default for Campaign {
    fn default() -> Self {
        Self { first: 0, schedules: 2_000, time: Duration::MAX, transport: None, threads: 2, shrinks: true }
    }
}

impl Campaign {
    /// The number of schedules with several nodes that are run by default.
    pub const NODES: u64 = 500;

    /// Runs the campaign.
    pub fn run(self) -> Report {
        let report = Mutex::new(Report::default());
        self.each(|seed| {
            let result = run(seed, self.transport, self.shrinks);
            let mut report = lock(&report);
            report.schedules += 1;
            match result {
                Ok(outcome) => report.coverage.merge(&outcome.coverage),
                Err(failure) => drop(report.failure.get_or_insert(failure)),
            }
            report.failure.is_none()
        });
        report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the campaign with schedules of several nodes.
    pub fn run_nodes(self) -> NodesReport {
        let report = Mutex::new(NodesReport::default());
        self.each(|seed| {
            let result = run_nodes(seed, self.shrinks);
            let mut report = lock(&report);
            report.schedules += 1;
            match result {
                Ok(coverage) => report.coverage.merge(&coverage),
                Err(failure) => drop(report.failure.get_or_insert(failure)),
            }
            report.failure.is_none()
        });
        report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a function with each seed, on several threads, until it returns `false`.
    fn each(&self, run: impl Fn(u64) -> bool + Sync) {
        let begun = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && begun.elapsed() < self.time {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.schedules {
                            break;
                        }
                        if !run(self.first.wrapping_add(number)) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    }
}
