//! Connections that wait for a request, and are bounded in number meanwhile.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use realtime_core::spi::{Arrival, Arrivals, counted_address};

use crate::ended::Ended;
use crate::wire::Wire;

/// The connections that wait: before a handshake, a first or a further request. Beyond their number
/// the one that has waited for longest is killed for a new one.
pub(crate) struct Pending {
    most: usize,
    /// The most from one address, if that is bounded.
    per_address: Option<PerAddress>,
    reason: Ended,
    /// The lock is held for one insertion and three removals at most.
    arrivals: Mutex<Arrivals<Arc<Wire>>>,
}

/// A bound for each address.
#[derive(Clone, Copy)]
pub(crate) struct PerAddress {
    pub(crate) most: usize,
    /// `true` if it was not set, and so does not hold for this host.
    pub(crate) is_default: bool,
}

impl Pending {
    pub(crate) fn new(most: usize, per_address: Option<PerAddress>, reason: Ended) -> Arc<Self> {
        Arc::new(Self { most, per_address, reason, arrivals: Mutex::default() })
    }

    /// Adds a connection, which is pending until the returned guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, wire: &Arc<Wire>) -> Entered {
        let (address, per_address) = self.address_of(wire);
        let mut arrivals = self.lock();
        let oldest = arrivals.make_room(address, self.most, per_address);
        let arrival = arrivals.push(Arc::clone(wire), address);
        drop(arrivals);
        for wire in oldest {
            wire.end_for(self.reason);
        }
        Entered { pending: Arc::clone(self), arrival }
    }

    /// Returns the number of pending connections.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn address_of(&self, wire: &Wire) -> (Option<IpAddr>, usize) {
        let Some(PerAddress { most, is_default }) = self.per_address else { return (None, 0) };
        (counted_address(Some(wire.peer().ip()), is_default), most)
    }

    fn lock(&self) -> MutexGuard<'_, Arrivals<Arc<Wire>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pending connection.
pub(crate) struct Entered {
    pending: Arc<Pending>,
    arrival: Arrival,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.pending.lock().remove(self.arrival);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::duplex;

    use super::*;
    use crate::config::WireConfig;
    use crate::guard::{Guard, GuardedStream};

    fn stream(guard: &Guard, peer: &str) -> GuardedStream<tokio::io::DuplexStream> {
        guard.wrap(duplex(1).0, SocketAddr::new(peer.parse().unwrap(), 7))
    }

    #[test]
    fn oldest_connection_is_killed_for_a_new_one() {
        let guard = Guard::new(&WireConfig::default());
        let pending = Pending::new(2, None, Ended::PendingLimit);
        let streams: Vec<_> = (0..4).map(|_| stream(&guard, "10.0.0.7")).collect();
        let dead = || streams.iter().map(|stream| stream.wire().dead()).collect::<Vec<_>>();
        let (one, two) = (pending.enter(streams[0].wire()), pending.enter(streams[1].wire()));
        drop(one);
        let three = pending.enter(streams[2].wire());
        assert_eq!(dead(), [false; 4], "the first one has got on");
        let _four = pending.enter(streams[3].wire());
        assert_eq!(dead(), [false, true, false, false]);
        drop(two);
        drop(three);
        assert_eq!(pending.len(), 1);
        assert_eq!(guard.stats().ended["pending_limit"], 1);
    }

    #[test]
    fn address_has_its_own_bound() {
        let guard = Guard::new(&WireConfig::default());
        for (is_default, peer, kills) in [(true, "10.0.0.7", 2), (true, "127.0.0.1", 0), (false, "127.0.0.1", 2)] {
            let pending = Pending::new(10, Some(PerAddress { most: 1, is_default }), Ended::PendingLimit);
            let streams: Vec<_> = [peer, "10.0.0.8", peer, peer].map(|peer| stream(&guard, peer)).into();
            let _entered: Vec<_> = streams.iter().map(|stream| pending.enter(stream.wire())).collect();
            assert_eq!(streams.iter().filter(|stream| stream.wire().dead()).count(), kills, "{is_default} {peer}");
            assert!(!streams[1].wire().dead() && !streams[3].wire().dead());
        }
    }
}
