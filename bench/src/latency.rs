//! Delivery times.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The width of a bucket in microseconds.
const STEP: u64 = 10;
/// The number of buckets: two seconds, and the last one holds everything that took longer.
const BUCKETS: usize = 200_001;

/// Delivery times of many clients, to 10 µs, up to 2 s.
pub struct Latencies {
    buckets: Box<[AtomicU32]>,
}

impl Latencies {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Adds one.
    pub fn add(&self, micros: u64) {
        let bucket = usize::try_from(micros / STEP).unwrap_or(usize::MAX).min(BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns their number.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed))).sum()
    }

    /// Returns the time within which this share of them was delivered, by nearest rank; zero of
    /// none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts stay far below 2^52"
    )]
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = ((self.count() as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            seen >= rank
        });
        Duration::from_micros(bucket.map_or(0, |bucket| (bucket as u64 + 1) * STEP))
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latencies").field("count", &self.count()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let latencies = Latencies::new();
        assert_eq!(latencies.percentile(99.0), Duration::ZERO);
        (1..=100).for_each(|ms| latencies.add(ms * 1000 - 1));
        assert_eq!(latencies.percentile(50.0), Duration::from_millis(50));
        assert_eq!(latencies.percentile(99.0), Duration::from_millis(99));
        assert_eq!(latencies.percentile(100.0), Duration::from_millis(100));
        latencies.add(u64::MAX);
        assert_eq!(latencies.percentile(100.0), Duration::from_micros(2_000_010));
        latencies.clear();
        assert_eq!(latencies.count(), 0);
    }
}
