//! When to try again what has failed.

use std::time::Duration;

use crate::values::random::random_between;

/// Delays that double up to a bound, each with a random part, so that nodes that lost the same thing do not all come
/// back to it at once.
pub(super) struct Backoff {
    next: Duration,
    most: Duration,
}

const FIRST: Duration = Duration::from_millis(50);

impl Backoff {
    /// Begins with 50 ms; `most` is the longest delay.
    pub(super) const fn new(most: Duration) -> Self {
        Self { next: FIRST, most }
    }

    /// The next delay: at random between half of its time and all of it.
    pub(super) fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        random_between(whole / 2, whole)
    }

    /// It has succeeded.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_begin_again_after_a_success() {
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
    fn delays_are_spread() {
        let delays: Vec<_> = (0..100).map(|_| Backoff::new(FIRST).delay()).collect();
        assert!(delays.iter().any(|delay| *delay < FIRST * 5 / 8));
        assert!(delays.iter().any(|delay| *delay > FIRST * 7 / 8));
    }
}
