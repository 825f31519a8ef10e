use std::array;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::values::distribution::Distribution;
use crate::values::histogram::Histogram;

/// The times that the work of one provider on this node took. Empty without the feature `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// The times from a publish to the write to a connection's socket, of one event in eight: from
    /// the call of the sender, or for an event of another node from its arrival here. Neither
    /// volatile events nor those that a connection catches up on are among them.
    pub written: Distribution,
    /// The times from a ping to its pong.
    pub round_trips: Distribution,
    /// The times that handlers took, by outcome: `error`, `ok` or `panic`.
    pub handlers: BTreeMap<&'static str, Distribution>,
}

/// The outcomes of a handler, in the order of [`Outcome`].
const OUTCOMES: [&str; 3] = ["error", "ok", "panic"];

/// The outcome of a handler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Error,
    Ok,
    Panic,
}

impl Outcome {
    /// Returns the name under which the outcome is counted.
    pub(crate) fn name(self) -> &'static str {
        OUTCOMES[self as usize]
    }
}

/// The histograms behind [`Timings`].
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pub(crate) written: Histogram,
    pub(crate) round_trips: Histogram,
    handlers: [Histogram; OUTCOMES.len()],
}

impl Timers {
    /// Counts the time that a handler took.
    pub(crate) fn handled(&self, outcome: Outcome, time: Duration) {
        self.handlers[outcome as usize].record(time);
    }

    pub(crate) fn read(&self) -> Timings {
        let handlers: [_; OUTCOMES.len()] = array::from_fn(|at| (OUTCOMES[at], self.handlers[at].read()));
        Timings {
            written: self.written.read(),
            round_trips: self.round_trips.read(),
            handlers: handlers.into_iter().collect(),
        }
    }
}
