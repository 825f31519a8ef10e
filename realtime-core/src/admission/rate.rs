//! The rate of what clients send, on one connection or of one tenant, measured by governor.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::values::inbound_rate::{InboundRate, KIB};

/// A rate of messages and a rate of bytes.
pub(crate) struct Budget {
    messages: Option<Rate>,
    kibibytes: Option<Rate>,
}

/// The amount that was read beyond the budget, to be paid before more is read.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    pub(crate) messages: u64,
    /// Paid in whole KiB; the rest stays.
    pub(crate) bytes: u64,
}

struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    burst: NonZeroU32,
}

/// The runtime's clock, which tests can stop.
#[derive(Clone, Copy)]
struct TokioClock(Instant);

impl Budget {
    /// Creates a full budget; `max_message_bytes` is the largest message of a client.
    pub(crate) fn new(rate: &InboundRate, max_message_bytes: usize) -> Self {
        Self { messages: rate.events().map(Rate::new), kibibytes: rate.kibibytes(max_message_bytes).map(Rate::new) }
    }

    /// Pays what is owed, as far as the budget reaches. Returns the time until more can be paid, or
    /// none if all is.
    pub(crate) fn pay(&self, owed: &mut Owed) -> Option<Duration> {
        let for_messages = match &self.messages {
            Some(rate) => rate.pay(&mut owed.messages),
            None => {
                owed.messages = 0;
                None
            }
        };
        let unit = KIB as u64;
        let mut kibibytes = owed.bytes / unit;
        let for_bytes = match &self.kibibytes {
            Some(rate) => rate.pay(&mut kibibytes),
            None => {
                kibibytes = 0;
                None
            }
        };
        owed.bytes = kibibytes * unit + owed.bytes % unit;
        for_messages.max(for_bytes)
    }
}

impl Owed {
    /// Returns whether nothing is to be paid.
    pub(crate) fn is_paid(&self) -> bool {
        self.messages == 0 && self.bytes < KIB as u64
    }

    pub(crate) fn add(&mut self, messages: u32, bytes: usize) {
        self.messages = self.messages.saturating_add(messages.into());
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl Rate {
    fn new((per_second, burst): (NonZeroU32, NonZeroU32)) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { limiter: RateLimiter::direct_with_clock(quota, TokioClock(Instant::now())), burst }
    }

    /// Pays in parts that the burst has room for.
    fn pay(&self, owed: &mut u64) -> Option<Duration> {
        while let Some(part) = NonZeroU32::new(u32::try_from(*owed).unwrap_or(u32::MAX).min(self.burst.get())) {
            match self.limiter.check_n(part) {
                Ok(Err(until)) => return Some(until.wait_time_from(self.limiter.clock().now())),
                // A part is never more than the burst.
                Ok(Ok(())) | Err(_) => *owed -= u64::from(part.get()),
            }
        }
        None
    }
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Instant::now().saturating_duration_since(self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(messages: u32, bytes: usize) -> Owed {
        let mut owed = Owed::default();
        owed.add(messages, bytes);
        owed
    }

    #[tokio::test(start_paused = true)]
    async fn burst_is_free_and_the_rest_takes_its_time() {
        let rate = InboundRate::default().with_events_per_second(10).with_events_burst(20);
        let budget = Budget::new(&rate, 0);
        assert_eq!(budget.pay(&mut owed(20, 0)), None);
        let mut one = owed(1, 0);
        assert_eq!(budget.pay(&mut one), Some(Duration::from_millis(100)));
        assert_eq!(one.messages, 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(budget.pay(&mut one), None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(budget.pay(&mut owed(20, 0)), None, "the budget is full again, and not fuller");
        assert!(budget.pay(&mut owed(1, 0)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn debt_larger_than_the_burst_is_paid_in_parts() {
        let rate = InboundRate::default().with_events_per_second(10).with_events_burst(20);
        let budget = Budget::new(&rate, 0);
        let mut debt = owed(50, 0);
        let begun = Instant::now();
        while let Some(wait) = budget.pay(&mut debt) {
            tokio::time::sleep(wait).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 3_000);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_exactly_over_many_small_messages() {
        let rate = InboundRate::unlimited().with_bytes_per_second(10 * KIB).with_bytes_burst(10 * KIB);
        let budget = Budget::new(&rate, 0);
        let mut debt = Owed::default();
        for n in 0..1024 {
            debt.add(1, 10);
            assert_eq!(budget.pay(&mut debt), None, "{n}");
        }
        debt.add(1, KIB);
        assert_eq!(budget.pay(&mut debt), Some(Duration::from_millis(100)));
    }
}
