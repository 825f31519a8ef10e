use std::time::Duration;

/// The upper bounds of the buckets in which times are counted; each includes its bound. Longer
/// times have a bucket of their own.
pub const BUCKETS: [Duration; 18] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// Times counted since the start, by bucket. Empty without the feature `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution(Vec<Counted>);

/// The times in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    /// The times added up, in nanoseconds.
    pub(crate) nanos: u64,
}

impl Distribution {
    pub(crate) fn new(buckets: impl Iterator<Item = Counted>) -> Self {
        Self(buckets.collect())
    }

    /// Returns the number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.count).sum()
    }

    /// Returns all times added up.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.nanos)))
    }

    /// Returns what was counted since an earlier reading: for each bucket the mean of its times,
    /// which lies in the bucket, and their number. Recorded into a histogram with the same
    /// [`BUCKETS`] they give its counts and its sum.
    pub fn since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (Duration, u64)> + 'a {
        self.0.iter().enumerate().filter_map(|(at, now)| {
            let before = earlier.0.get(at).copied().unwrap_or_default();
            let count = now.count.saturating_sub(before.count);
            let mean = now.nanos.saturating_sub(before.nanos).checked_div(count)?;
            // A count can have been read without its time.
            let above = at.checked_sub(1).map_or(Duration::ZERO, |below| BUCKETS[below] + Duration::from_nanos(1));
            let up_to = BUCKETS.get(at).copied().unwrap_or(Duration::MAX);
            Some((Duration::from_nanos(mean).clamp(above, up_to), count))
        })
    }
}
