//! The deliveries to the clients of a swarm, and their times.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::payload::{now, sent_at};
use crate::swarm::Observer;

/// The width of a bucket in microseconds.
const STEP: u64 = 10;
/// The number of buckets: two seconds, and the last one holds everything that took longer.
const BUCKETS: usize = 200_001;

/// The deliveries that were observed, with their times to 10 µs, up to 2 s.
pub struct Deliveries {
    buckets: Box<[AtomicU32]>,
    count: AtomicU64,
}

impl Observer for Deliveries {
    fn received(&self, _: u64, data: &[u8]) {
        self.add(sent_at(data).map_or(0, |at| now().saturating_sub(at)));
    }
}

impl Deliveries {
    /// Adds one.
    fn add(&self, micros: u64) {
        let bucket = usize::try_from(micros / STEP).unwrap_or(usize::MAX).min(BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns their number.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the milliseconds within which this share of them was delivered, by nearest rank;
    /// zero of none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts stay far below 2^52"
    )]
    pub fn ms(&self, percent: f64) -> f64 {
        let rank = ((self.count() as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            seen >= rank
        });
        bucket.map_or(0.0, |bucket| ((bucket as u64 + 1) * STEP) as f64 / 1000.0)
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(), count: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::payload;

    #[test]
    fn percentiles_by_nearest_rank() {
        let deliveries = Deliveries::default();
        let is = |percent, ms: f64| assert!((deliveries.ms(percent) - ms).abs() < 1e-9, "{percent} %");
        is(99.0, 0.0);
        (1..=100).for_each(|ms| deliveries.add(ms * 1000 - 1));
        is(50.0, 50.0);
        is(99.0, 99.0);
        is(100.0, 100.0);
        deliveries.add(u64::MAX);
        is(100.0, 2_000.010);
        deliveries.clear();
        assert_eq!(deliveries.count(), 0);
    }

    #[test]
    fn deliveries_are_counted_and_timed() {
        let deliveries = Deliveries::default();
        deliveries.received(0, &payload(64));
        deliveries.received(1, &payload(64));
        assert_eq!(deliveries.count(), 2);
        assert!(deliveries.ms(100.0) > 0.0);
        deliveries.clear();
        assert_eq!(deliveries.count(), 0);
    }
}
