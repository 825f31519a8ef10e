//! The description of an attack.

use std::pin::Pin;
use std::time::Duration;

use realtime_bench::Result;

use crate::attacker::Attacker;

/// The outcome of one attempt; an error ends only that one.
pub(crate) type Attempt<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One kind of attack.
#[derive(Clone, Copy)]
pub(crate) struct Attack {
    /// The name.
    pub(crate) name: &'static str,
    /// The counters of which at least one has to grow, each by its name in `/metrics` and a part of
    /// its labels.
    pub(crate) counted: &'static [(&'static str, &'static str)],
    /// The least time that it takes, because the server counts it only then.
    pub(crate) least: Duration,
    /// The number of tasks that attempt it again and again.
    pub(crate) tasks: usize,
    /// One attempt of the task with this number.
    pub(crate) attempt: for<'a> fn(&'a Attacker, usize) -> Attempt<'a>,
}
