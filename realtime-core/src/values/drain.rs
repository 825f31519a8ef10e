use std::time::Duration;

use crate::values::random::random_between;

/// How a provider goes down: it is not ready for a while, then its connections are closed evenly over a time, each told when
/// to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    hold: Duration,
    over: Duration,
    reconnect_within: Duration,
}

/// The least that a client waits before it comes back: long enough for a load balancer to have looked at `/readyz`.
const SOONEST: Duration = Duration::from_millis(100);
/// The most, unless something else is said.
const LATEST: Duration = Duration::from_secs(2);
/// The least that an event source waits: it keeps what it is told for as long as nobody answers.
const SOONEST_RETRY: Duration = Duration::from_secs(1);
/// How long a node is not ready before it closes anything, unless something else is said.
const HOLD: Duration = Duration::from_secs(2);
/// The longest drain.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Drain {
    /// Every connection is closed at once.
    pub const fn now() -> Self {
        Self::over(Duration::ZERO).hold(Duration::ZERO)
    }

    /// Connections are closed evenly over this time, a day at most, and what is left a second later is cut. Before that, for
    /// 2 s ([`Drain::hold`]), the provider is not ready and everything still works.
    ///
    /// With handlers or clients that are stuck the end takes up to ten seconds more: choose it so that they fit into what
    /// the process is given to end (Kubernetes: 30 s).
    pub const fn over(over: Duration) -> Self {
        let over = if over.as_secs() < LONGEST.as_secs() { over } else { LONGEST };
        Self { hold: HOLD, over, reconnect_within: LATEST }
    }

    /// For this long, before anything is closed or refused, the provider only says that it is not ready; default 2 s, at most a
    /// day.
    ///
    /// It is for the load balancer, which must have looked at the node's readiness before the node refuses anybody: more than
    /// the interval of its probes, times the failures that it waits for.
    pub const fn hold(mut self, time: Duration) -> Self {
        self.hold = if time.as_secs() < LONGEST.as_secs() { time } else { LONGEST };
        self
    }

    /// Each client is told to come back after a random time between 100 ms and this; default 2 s. An `EventSource`, which keeps
    /// the time and tries again after it for as long as nobody answers, is told a time between 1 s and twice this.
    pub const fn reconnect_within(mut self, most: Duration) -> Self {
        self.reconnect_within = most;
        self
    }

    /// The time for which the provider is not ready before it closes anything.
    pub const fn hold_time(self) -> Duration {
        self.hold
    }

    /// The time over which connections are closed.
    pub const fn duration(self) -> Duration {
        self.over
    }

    /// When one client should come back: another time for each, so that they do not come all at once.
    pub fn reconnect_delay(self) -> Duration {
        random_between(SOONEST, self.reconnect_within)
    }

    /// How long one event source should wait before each attempt to come back; another time for each.
    pub fn retry_delay(self) -> Duration {
        random_between(SOONEST_RETRY, self.reconnect_within.saturating_mul(2))
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
    fn an_event_source_does_not_try_again_every_moment() {
        let delays: Vec<_> = (0..1000).map(|_| Drain::now().retry_delay()).collect();
        assert!(delays.iter().all(|delay| (SOONEST_RETRY..Duration::from_secs(4)).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(3500)));
        assert_eq!(Drain::now().reconnect_within(Duration::ZERO).retry_delay(), SOONEST_RETRY);
    }

    #[test]
    fn only_a_drain_with_time_holds() {
        assert_eq!((Drain::now().hold_time(), Drain::over(Duration::ZERO).hold_time()), (Duration::ZERO, HOLD));
        assert_eq!(Drain::now().hold(Duration::MAX).hold_time(), LONGEST);
    }

    #[test]
    fn a_span_shorter_than_the_least_delay_is_the_least_delay() {
        assert_eq!(Drain::now().reconnect_within(Duration::ZERO).reconnect_delay(), SOONEST);
    }
}
