use realtime_testkit::SeededRng;

/// Numbers that follow from a seed alone, on every machine and in every version.
#[derive(Clone, Debug)]
pub(crate) struct Rng(SeededRng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRng::from_seed(seed))
    }

    /// Returns a number below `end`, which is at least one.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    /// Returns a number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Returns `true` in this percentage of calls.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Returns the index of one of these weights, each as likely as it is heavy.
    pub(crate) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.len() - 1
    }
}
