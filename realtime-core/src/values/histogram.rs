use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::values::distribution::{BUCKETS, Counted, Distribution};
use crate::values::stamp::ENABLED;

/// Times counted by bucket, in plain atomics: recording one looks nothing up and takes no lock. It
/// records nothing without the feature `metrics`.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// The buckets, and the times above the last one.
    buckets: [Bucket; BUCKETS.len() + 1],
}

#[derive(Debug, Default)]
struct Bucket {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts a time.
    pub(crate) fn record(&self, time: Duration) {
        if !ENABLED {
            return;
        }
        let bucket = &self.buckets[BUCKETS.partition_point(|bound| *bound < time)];
        bucket.count.fetch_add(1, Ordering::Relaxed);
        bucket.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns what was counted so far.
    pub(crate) fn read(&self) -> Distribution {
        let counted = |bucket: &Bucket| Counted {
            count: bucket.count.load(Ordering::Relaxed),
            nanos: bucket.nanos.load(Ordering::Relaxed),
        };
        Distribution::new(self.buckets.iter().map(counted))
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn difference_keeps_counts_and_sum() {
        let histogram = Histogram::default();
        [Duration::ZERO, 3 * MILLI, 4 * MILLI, 40_000 * MILLI].iter().for_each(|time| histogram.record(*time));
        let first = histogram.read();
        assert_eq!((first.count(), first.sum()), (4, 40_007 * MILLI));
        let none = Distribution::default();
        let means: Vec<_> = first.since(&none).collect();
        assert_eq!(means, [(Duration::ZERO, 1), (3 * MILLI + MILLI / 2, 2), (40_000 * MILLI, 1)]);
        histogram.record(5 * MILLI);
        let second = histogram.read();
        assert_eq!(second.since(&first).collect::<Vec<_>>(), [(5 * MILLI, 1)]);
        assert_eq!(second.since(&second).count(), 0);
    }

    #[test]
    fn bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for bound in BUCKETS {
            histogram.record(bound);
            histogram.record(bound + Duration::from_nanos(1));
        }
        let means: Vec<_> = histogram.read().since(&Distribution::default()).collect();
        let counts: Vec<_> = means.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [&[1][..], &[2; BUCKETS.len() - 1], &[1]].concat());
        for (mean, bound) in means.iter().zip(BUCKETS) {
            assert!(mean.0 <= bound, "{mean:?}");
        }
    }

    #[test]
    fn mean_without_its_time_stays_in_the_bucket() {
        let mut buckets = vec![Counted::default(); BUCKETS.len() + 1];
        buckets[5].count = 1;
        let read = Distribution::new(buckets.into_iter());
        let (mean, count) = read.since(&Distribution::default()).next().unwrap();
        assert!(count == 1 && mean > BUCKETS[4] && mean <= BUCKETS[5], "{mean:?}");
    }
}
