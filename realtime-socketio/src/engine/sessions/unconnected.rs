use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use tokio::time::Instant;

/// Sessions that are connected to no namespace, the oldest first.
#[derive(Default)]
pub(crate) struct Unconnected {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Positions of the sessions from each address.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

struct Waiting {
    session: u64,
    address: Option<IpAddr>,
    until: Instant,
}

/// Position of a session among the unconnected ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Unconnected {
    /// Adds a session as the youngest; `until` must not be earlier than another one's.
    pub(crate) fn enter(&mut self, session: u64, address: Option<IpAddr>, until: Instant) -> Turn {
        let turn = self.next;
        self.next += 1;
        let address = address.map(counted_as);
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(turn);
        }
        self.waiting.insert(turn, Waiting { session, address, until });
        Turn(turn)
    }

    pub(crate) fn leave(&mut self, Turn(turn): Turn) {
        let Some(Waiting { address: Some(address), .. }) = self.waiting.remove(&turn) else { return };
        if let Some(turns) = self.by_address.get_mut(&address) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn len_from(&self, address: IpAddr) -> usize {
        self.by_address.get(&counted_as(address)).map_or(0, BTreeSet::len)
    }

    /// Returns the oldest session, and until when it may stay unconnected.
    pub(crate) fn oldest(&self) -> Option<(u64, Instant)> {
        self.waiting.first_key_value().map(|(_, waiting)| (waiting.session, waiting.until))
    }

    /// Returns the oldest session from this address.
    pub(crate) fn oldest_from(&self, address: IpAddr) -> Option<u64> {
        let turn = self.by_address.get(&counted_as(address))?.first()?;
        self.waiting.get(turn).map(|waiting| waiting.session)
    }
}

/// Returns the address that is counted: of IPv6 the /64, which is assigned as a whole (RFC 6177).
fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_comes_first_in_all_and_of_each_address() {
        let now = Instant::now();
        let [a, b, b2] = ["1.1.1.1", "2001:db8::1", "2001:db8::2:1"].map(|address| address.parse().unwrap());
        let mut unconnected = Unconnected::default();
        let turns = [(1, Some(a)), (2, Some(b)), (3, None), (4, Some(b2)), (5, Some(a))]
            .map(|(session, address)| unconnected.enter(session, address, now));
        assert_eq!((unconnected.len(), unconnected.len_from(a), unconnected.len_from(b)), (5, 2, 2));
        assert_eq!((unconnected.oldest(), unconnected.oldest_from(b2)), (Some((1, now)), Some(2)));
        unconnected.leave(turns[0]);
        unconnected.leave(turns[1]);
        unconnected.leave(turns[1]);
        assert_eq!(
            (unconnected.oldest(), unconnected.oldest_from(a), unconnected.oldest_from(b)),
            (Some((3, now)), Some(5), Some(4))
        );
        for turn in turns {
            unconnected.leave(turn);
        }
        assert_eq!((unconnected.len(), unconnected.oldest(), unconnected.by_address.len()), (0, None, 0));
    }
}
