use std::time::Duration;

use crate::values::random::random_between;

/// The way a provider shuts down: it is not ready for a time, then its connections are closed
/// evenly over a duration, each with a delay after which to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    hold: Duration,
    over: Duration,
    reconnect_within: Duration,
}

/// The shortest delay before a client reconnects: long enough for a load balancer to have probed
/// `/readyz`.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// The default of the longest delay.
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(2);
/// The shortest delay of an event source, which keeps it as long as no server answers.
const MIN_RETRY: Duration = Duration::from_secs(1);
/// The default time for which a node is not ready before it closes anything.
const DEFAULT_HOLD: Duration = Duration::from_secs(2);
/// The longest drain.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

impl Drain {
    /// Creates a drain that closes every connection immediately.
    #[must_use]
    pub const fn now() -> Self {
        Self::over(Duration::ZERO).with_hold(Duration::ZERO)
    }

    /// Creates a drain that closes connections evenly over this duration, a day at most, and resets
    /// those that are left a second later. Before that, for 2 s ([`Drain::with_hold`]), the
    /// provider is not ready and everything still works.
    ///
    /// With handlers or clients that are stuck, the shutdown takes up to ten seconds more: choose a
    /// duration that fits, with these, into the time that the process has to terminate (Kubernetes:
    /// 30 s).
    #[must_use]
    pub const fn over(over: Duration) -> Self {
        let over = if over.as_secs() < MAX_DURATION.as_secs() { over } else { MAX_DURATION };
        Self { hold: DEFAULT_HOLD, over, reconnect_within: DEFAULT_MAX_DELAY }
    }

    /// Sets the time, before anything is closed or rejected, for which the provider only reports
    /// that it is not ready; default 2 s, at most a day.
    ///
    /// The time is for the load balancer, which must have probed the node's readiness before the
    /// node rejects any client: more than the interval of its probes, times the failures that it
    /// waits for.
    #[must_use]
    pub const fn with_hold(mut self, time: Duration) -> Self {
        self.hold = if time.as_secs() < MAX_DURATION.as_secs() { time } else { MAX_DURATION };
        self
    }

    /// Sets the longest delay: each client gets a random delay between 100 ms and this, after which
    /// to reconnect; default 2 s. An `EventSource`, which keeps its delay and retries after it for
    /// as long as no server answers, gets one between 1 s and twice this.
    #[must_use]
    pub const fn with_reconnect_within(mut self, most: Duration) -> Self {
        self.reconnect_within = most;
        self
    }

    /// Returns the time for which the provider is not ready before it closes anything.
    #[must_use]
    pub const fn hold(self) -> Duration {
        self.hold
    }

    /// Returns the duration over which connections are closed.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.over
    }

    /// Returns the delay after which one client should reconnect; a different one for each, so that
    /// they do not all reconnect at the same moment.
    #[must_use]
    pub fn reconnect_delay(self) -> Duration {
        random_between(MIN_DELAY, self.reconnect_within)
    }

    /// Returns the delay before each attempt of one event source to reconnect; a different one for
    /// each.
    #[must_use]
    pub fn retry_delay(self) -> Duration {
        random_between(MIN_RETRY, self.reconnect_within.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_spread_over_the_whole_duration() {
        let drain = Drain::now().with_reconnect_within(Duration::from_millis(1100));
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let delay = drain.reconnect_delay();
            assert!((MIN_DELAY..Duration::from_millis(1100)).contains(&delay), "{delay:?}");
            tenths[(delay - MIN_DELAY).as_millis() as usize / 100] += 1;
        }
        assert!(tenths.iter().all(|count| (50..200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn event_source_does_not_retry_too_often() {
        let delays: Vec<_> = (0..1000).map(|_| Drain::now().retry_delay()).collect();
        assert!(delays.iter().all(|delay| (MIN_RETRY..Duration::from_secs(4)).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(3500)));
        assert_eq!(Drain::now().with_reconnect_within(Duration::ZERO).retry_delay(), MIN_RETRY);
    }

    #[test]
    fn drain_holds_unless_it_is_immediate() {
        assert_eq!((Drain::now().hold(), Drain::over(Duration::ZERO).hold()), (Duration::ZERO, DEFAULT_HOLD));
        assert_eq!(Drain::now().with_hold(Duration::MAX).hold(), MAX_DURATION);
    }

    #[test]
    fn delay_is_never_below_the_minimum() {
        assert_eq!(Drain::now().with_reconnect_within(Duration::ZERO).reconnect_delay(), MIN_DELAY);
    }
}
