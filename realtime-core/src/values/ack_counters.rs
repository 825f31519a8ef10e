use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::values::distribution::Distribution;
use crate::values::histogram::Histogram;

/// The outcomes of this node's asks with the connections of one provider, on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckStats {
    /// The number of connections by outcome: `answered`, `gone` …, and `abandoned` for those whose
    /// outcome the asker did not wait for.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The times from an ask's delivery to its answer; empty without the feature `metrics`.
    pub times: Distribution,
}

/// The counters behind [`AckStats`].
#[derive(Debug, Default)]
pub(crate) struct AckCounters(Mutex<BTreeMap<&'static str, OfProvider>>);

#[derive(Debug, Default)]
struct OfProvider {
    outcomes: BTreeMap<&'static str, u64>,
    times: Histogram,
}

impl AckCounters {
    /// Counts the outcome of one connection, and the time of its answer if there is one.
    pub(crate) fn count(&self, provider: &'static str, outcome: &'static str, answered: Option<Duration>) {
        let mut providers = self.lock();
        let counted = providers.entry(provider).or_default();
        *counted.outcomes.entry(outcome).or_default() += 1;
        answered.into_iter().for_each(|time| counted.times.record(time));
    }

    pub(crate) fn read(&self) -> BTreeMap<&'static str, AckStats> {
        let stats = |counted: &OfProvider| AckStats { outcomes: counted.outcomes.clone(), times: counted.times.read() };
        self.lock().iter().map(|(provider, counted)| (*provider, stats(counted))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, OfProvider>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
