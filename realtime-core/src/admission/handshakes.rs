use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::admission::address::counted_address;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::service_limits::ServiceLimits;

/// The default rate of a node, in handshakes per second.
const OF_NODE: u32 = 5_000;
/// The default rate of an address.
const OF_ADDRESS: u32 = 100;
/// The seconds of the node's rate that may come at once.
const NODE_BURST: u32 = 4;
/// The seconds of an address's rate that may come at once.
const ADDRESS_BURST: u32 = 5;
/// The most addresses that are counted at a time. One is forgotten 5 s after its last handshake at
/// the latest, and the node's rate lets 45,000 in within that time. Those beyond are bounded by the
/// node's rate alone.
const MAX_ADDRESSES: usize = 65_536;
/// The least time before a client may try again.
const LEAST: Duration = Duration::from_secs(1);
/// The lines per second for refusals of clients that nobody knows, ten times as many of which may
/// come at once.
const LINES: u32 = 10;
/// The interval at which addresses with a full bucket are forgotten.
const INTERVAL: Duration = Duration::from_secs(1);
/// The limits, as metrics name them; in the order of [`Limit`].
const LIMITS: [&str; 2] = ["address", "node"];

type OfNode = RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Nanos>>;
type OfAddress = RateLimiter<IpAddr, Buckets, Since, NoOpMiddleware<Nanos>>;

/// The rates of handshakes of a service on a node, in all and from each client address: of requests
/// that would connect, refresh credentials or take a ticket.
#[derive(Debug)]
pub struct Handshakes {
    clock: Since,
    of_node: Option<OfNode>,
    of_address: Option<OfAddress>,
    /// `true` if the rate of an address was not set, and so does not hold for this host.
    address_is_default: bool,
    /// The refusals, in the order of [`LIMITS`].
    refused: [AtomicU64; LIMITS.len()],
    swept: Turns,
    lines: Option<OfNode>,
    /// The number of refusals that were not logged since the last one that was.
    unlogged: AtomicU64,
}

enum Limit {
    Address,
    Node,
}

impl Handshakes {
    /// Creates the rates of these limits: where they are not set 5,000 per second and 20,000 at
    /// once in all, 100 per second and 500 at once from each address, except of this host. Of a
    /// rate that is set four, or five, times as many may come at once.
    #[must_use]
    pub fn new(limits: ServiceLimits) -> Arc<Self> {
        let clock = Since(Instant::now());
        let of_node = quota(limits.handshakes_per_second.unwrap_or(OF_NODE), NODE_BURST);
        let of_address = quota(limits.handshakes_per_address.unwrap_or(OF_ADDRESS), ADDRESS_BURST);
        Arc::new(Self {
            clock,
            of_node: of_node.map(|quota| RateLimiter::direct_with_clock(quota, clock)),
            of_address: of_address.map(|quota| RateLimiter::new(quota, Buckets::default(), clock)),
            address_is_default: limits.handshakes_per_address.is_none(),
            refused: Default::default(),
            swept: Turns::default(),
            lines: quota(LINES, 10).map(|quota| RateLimiter::direct_with_clock(quota, clock)),
            unlogged: AtomicU64::new(0),
        })
    }

    /// Counts a handshake from this address.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::HandshakeRate`], with the time until there is room.
    pub fn check(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        // The address first: what it has too many of does not use up the node's.
        if let Some(limiter) = &self.of_address
            && let Some(address) = counted_address(address, self.address_is_default)
        {
            if self.swept.take(self.clock) {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
            limiter
                .check_key(&address)
                .map_err(|until| self.refuse(Limit::Address, until.wait_time_from(self.now())))?;
        }
        if let Some(limiter) = &self.of_node {
            limiter.check().map_err(|until| self.refuse(Limit::Node, until.wait_time_from(self.now())))?;
        }
        Ok(())
    }

    /// Returns the number of refusals by each limit, by its name.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); LIMITS.len()] {
        let count = |at: usize| (LIMITS[at], self.refused[at].load(Ordering::Relaxed));
        [count(0), count(1)]
    }

    /// Returns whether a refusal of a client that nobody knows is to be logged, of which as many
    /// may come as the network carries: the number of those that were not since the last one that
    /// was, or `None`.
    pub fn log_turn(&self) -> Option<u64> {
        if self.lines.as_ref().is_none_or(|lines| lines.check().is_ok()) {
            return Some(self.unlogged.swap(0, Ordering::Relaxed));
        }
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn refuse(&self, limit: Limit, wait: Duration) -> Refusal {
        let (message, setting) = match limit {
            Limit::Address => ("too many connection attempts from this address", "handshakes_per_address"),
            Limit::Node => ("too many connection attempts on this node", "handshakes_per_second"),
        };
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
        let whole = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        Refusal::new(RefusalKind::HandshakeRate, message).with_setting(setting).with_retry_after(whole.max(LEAST))
    }

    fn now(&self) -> Nanos {
        self.clock.now()
    }
}

/// Returns the quota of a rate; `None` for the largest, which is no limit.
fn quota(rate: u32, burst: u32) -> Option<Quota> {
    if rate == u32::MAX {
        return None;
    }
    let burst = NonZeroU32::new(rate.saturating_mul(burst)).unwrap_or(NonZeroU32::MIN);
    Some(Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN)).allow_burst(burst))
}

/// The time since a moment by tokio's clock, which tests pause.
#[derive(Clone, Copy, Debug)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

/// A turn in each interval.
#[derive(Debug, Default)]
struct Turns(AtomicU64);

impl Turns {
    /// Returns whether it is time, once in each interval, the first one included.
    fn take(&self, clock: Since) -> bool {
        // 0 before the first turn.
        let now = clock.now().as_u64().max(1);
        let last = self.0.load(Ordering::Relaxed);
        (last == 0 || now - last.min(now) >= INTERVAL.as_nanos() as u64)
            && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The buckets that are not full, at most [`MAX_ADDRESSES`]: of each the time at which it will be.
#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<IpAddr, Nanos>>);

impl Buckets {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Nanos>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Buckets {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, address: &IpAddr, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut buckets = self.lock();
        let known = buckets.get(address).copied();
        let (outcome, full) = measure(known)?;
        if known.is_some() || buckets.len() < MAX_ADDRESSES {
            buckets.insert(*address, full);
        }
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<IpAddr> for Buckets {
    fn retain_recent(&self, full: Nanos) {
        self.lock().retain(|_, at| *at > full);
    }

    fn shrink_to_fit(&self) {
        let mut buckets = self.lock();
        if buckets.capacity() / 4 > buckets.len() {
            let room = buckets.len() * 2;
            buckets.shrink_to(room);
        }
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    fn rates(in_all: u32, of_address: u32) -> Arc<Handshakes> {
        let limits = ServiceLimits::default();
        Handshakes::new(limits.with_handshakes_per_second(in_all).with_handshakes_per_address(of_address))
    }

    /// Returns how many of so many handshakes in a moment are accepted.
    fn accepted(handshakes: &Handshakes, of: u32, address: impl Fn(u32) -> Option<IpAddr>) -> usize {
        (0..of).filter(|number| handshakes.check(address(*number)).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn defaults_let_a_deploy_through() {
        let handshakes = Handshakes::new(ServiceLimits::default());
        assert_eq!(accepted(&handshakes, 10_000, address), 10_000, "at once, from as many addresses");
        assert_eq!(accepted(&handshakes, 10_001, address), 10_000, "and as many again");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(accepted(&handshakes, 6_000, address), 5_000);
        assert_eq!(accepted(&Handshakes::new(ServiceLimits::default()), 501, |_| address(1)), 500);
        let loopback = |_| Some(std::net::Ipv4Addr::LOCALHOST.into());
        assert_eq!(accepted(&Handshakes::new(ServiceLimits::default()), 1_000, loopback), 1_000);
        assert_eq!(accepted(&rates(u32::MAX, 10), 60, loopback), 50, "a rate that was set");
        assert_eq!(accepted(&Handshakes::new(ServiceLimits::none()), 30_000, |_| address(1)), 30_000);
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_says_when_there_is_room() {
        let handshakes = rates(1, u32::MAX);
        assert_eq!(accepted(&handshakes, 5, |_| None), 4);
        tokio::time::advance(Duration::from_millis(300)).await;
        let refusal = handshakes.check(None).unwrap_err();
        let after = (refusal.kind(), refusal.retry_after(), refusal.setting());
        assert_eq!(after, (RefusalKind::HandshakeRate, Some(LEAST), Some("handshakes_per_second")));
        tokio::time::advance(Duration::from_millis(700)).await;
        handshakes.check(None).unwrap();
        assert_eq!(handshakes.refused(), [("address", 0), ("node", 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn address_that_is_refused_does_not_use_up_the_nodes_rate() {
        let handshakes = rates(10, 2);
        assert_eq!(accepted(&handshakes, 1_000, |_| address(1)), 10);
        assert_eq!(accepted(&handshakes, 40, address), 30, "what is left of the node's 40");
        let refusal = handshakes.check(address(1)).unwrap_err();
        assert_eq!(refusal.setting(), Some("handshakes_per_address"));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_forgotten_and_bounded() {
        let handshakes = rates(u32::MAX, 1);
        let kept = || handshakes.of_address.as_ref().map(|limiter| limiter.len());
        let many = u32::try_from(MAX_ADDRESSES).unwrap() + 1_000;
        assert_eq!(accepted(&handshakes, many, address), many as usize);
        assert_eq!(kept(), Some(MAX_ADDRESSES));
        assert_eq!(accepted(&handshakes, 10, |_| address(1)), 4, "one that is counted");
        assert_eq!(accepted(&handshakes, 10, |_| address(many)), 10, "one beyond");
        tokio::time::advance(Duration::from_secs(3)).await;
        handshakes.check(None).unwrap();
        handshakes.check(address(2)).unwrap();
        assert_eq!(kept(), Some(2), "the two whose buckets are not full");
        assert_eq!(accepted(&handshakes, 10, |_| address(many)), 5, "counted now");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_the_log_are_bounded() {
        let handshakes = rates(1, 1);
        let lines = || (0..1_000).filter_map(|_| handshakes.log_turn()).collect::<Vec<_>>();
        assert_eq!(lines(), [0; 100]);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(lines(), [900, 0]);
    }
}
