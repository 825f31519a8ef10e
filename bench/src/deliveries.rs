//! The deliveries to the clients of a swarm, and their times.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::latency::Latencies;
use crate::payload::{now, sent_at};
use crate::swarm::Observer;

/// The deliveries that were observed.
#[derive(Debug, Default)]
pub struct Deliveries {
    latencies: Latencies,
    count: AtomicU64,
}

impl Observer for Deliveries {
    fn received(&self, _: u64, data: &[u8]) {
        if let Some(at) = sent_at(data) {
            self.latencies.add(now().saturating_sub(at));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Deliveries {
    /// Returns their number.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the milliseconds within which this share of them was delivered.
    pub fn ms(&self, percent: f64) -> f64 {
        self.latencies.percentile(percent).as_secs_f64() * 1000.0
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.latencies.clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::payload;

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
