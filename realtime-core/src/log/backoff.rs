//! Delays between retries.

use std::time::Duration;

use crate::values::random::random_between;

/// Delays that double up to a bound, each with a random part, so that nodes that lost the same
/// connection do not all retry at the same moment.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

const FIRST: Duration = Duration::from_millis(50);

impl Backoff {
    /// Creates a backoff that starts at 50 ms; `max` is the longest delay.
    #[must_use]
    pub const fn new(max: Duration) -> Self {
        Self { next: FIRST, max }
    }

    /// Waits for the next delay: a random time between half of it and the whole.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }

    fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        random_between(whole / 2, whole)
    }

    /// Starts again with the first delay, after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_restart_after_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        for _ in 0..2 {
            for whole in [50, 100, 200, 300, 300] {
                let whole = Duration::from_millis(whole);
                let delay = backoff.delay();
                assert!((whole / 2..=whole).contains(&delay), "{delay:?} of {whole:?}");
            }
            backoff.reset();
        }
    }

    #[test]
    fn delays_are_randomized() {
        let delays: Vec<_> = (0..100).map(|_| Backoff::new(FIRST).delay()).collect();
        assert!(delays.iter().any(|delay| *delay < FIRST * 5 / 8));
        assert!(delays.iter().any(|delay| *delay > FIRST * 7 / 8));
    }
}
