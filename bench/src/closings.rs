//! The distribution of closed connections over time.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// The number of parts of the time.
const PARTS: usize = 10;

/// The number of connections that were closed in each of ten equal parts of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closings {
    parts: [usize; PARTS],
}

impl Closings {
    /// Counts closings by the time since the beginning; those after the last part count for it.
    pub fn new(after: impl Iterator<Item = Duration>, part: Duration) -> Self {
        let mut parts = [0; PARTS];
        for after in after {
            let number = after.as_nanos() / part.as_nanos().max(1);
            parts[usize::try_from(number).unwrap_or(usize::MAX).min(PARTS - 1)] += 1;
        }
        Self { parts }
    }

    /// Returns whether none was closed.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|count| *count == 0)
    }

    /// Returns the part that is farthest from even, as its share above (or below) the mean; NaN of
    /// none.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn worst(&self) -> f64 {
        let mean = self.parts.iter().sum::<usize>() as f64 / PARTS as f64;
        let shares = self.parts.iter().map(|count| *count as f64 / mean - 1.0);
        shares.fold(0.0, |worst: f64, share| if share.abs() > worst.abs() { share } else { worst })
    }
}

impl fmt::Display for Closings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|count| write!(f, "{count:6}"))
    }
}

/// Returns the largest number of these moments, which are sorted, within one span.
pub fn most_within(sorted: &[Instant], span: Duration) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (number, moment) in sorted.iter().enumerate() {
        while *moment - sorted[from] >= span {
            from += 1;
        }
        most = most.max(number + 1 - from);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closings_are_counted_by_tenths_and_the_worst_is_found() {
        let even = (0..1000).map(Duration::from_millis);
        let closings = Closings::new(even, Duration::from_millis(100));
        assert_eq!(closings.parts, [100; PARTS]);
        assert!(closings.worst().abs() < 1e-9);
        let late = (0..100).map(|n| Duration::from_millis(n * 10)).chain([Duration::from_secs(7); 3]);
        let closings = Closings::new(late, Duration::from_millis(100));
        assert_eq!(closings.parts[PARTS - 1], 13);
        assert!((closings.worst() - (13.0 / 10.3 - 1.0)).abs() < 1e-9);
        assert!(Closings::new(std::iter::empty(), Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn most_within_counts_a_half_open_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(most_within(&[at(0), at(600), at(999), at(1000), at(1500)], Duration::from_secs(1)), 4);
        assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
    }
}
