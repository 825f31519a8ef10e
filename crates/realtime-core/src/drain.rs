use std::time::Duration;

use crate::random::random_between;

/// How a provider goes down: its connections are closed evenly over a time, each told when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    over: Duration,
    reconnect_within: Duration,
}

/// The least that a client waits before it comes back: long enough for a load balancer to have looked at `/readyz`.
const SOONEST: Duration = Duration::from_millis(100);
/// The most, unless something else is said.
const LATEST: Duration = Duration::from_secs(2);
/// The longest drain.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Drain {
    /// Every connection is closed at once.
    pub const fn now() -> Self {
        Self::over(Duration::ZERO)
    }

    /// Connections are closed evenly over this time, a day at most, and what is left a second later is cut.
    ///
    /// With handlers or clients that are stuck the end takes up to ten seconds more: choose it so that they fit into what
    /// the process is given to end (Kubernetes: 30 s).
    pub const fn over(over: Duration) -> Self {
        let over = if over.as_secs() < LONGEST.as_secs() { over } else { LONGEST };
        Self { over, reconnect_within: LATEST }
    }

    /// Each client is told to come back after a random time between 100 ms and this; default 2 s.
    pub const fn reconnect_within(mut self, most: Duration) -> Self {
        self.reconnect_within = most;
        self
    }

    /// The time over which connections are closed.
    pub const fn duration(self) -> Duration {
        self.over
    }

    /// When one client should come back: another time for each, so that they do not come all at once.
    pub fn reconnect_delay(self) -> Duration {
        random_between(SOONEST, self.reconnect_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_over_the_whole_time() {
        let drain = Drain::now().reconnect_within(Duration::from_millis(1100));
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let delay = drain.reconnect_delay();
            assert!((SOONEST..Duration::from_millis(1100)).contains(&delay), "{delay:?}");
            tenths[(delay - SOONEST).as_millis() as usize / 100] += 1;
        }
        assert!(tenths.iter().all(|count| (50..200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn a_span_shorter_than_the_least_delay_is_the_least_delay() {
        assert_eq!(Drain::now().reconnect_within(Duration::ZERO).reconnect_delay(), SOONEST);
    }
}
