use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use tokio::time::Instant;

/// Sessions that are connected to no namespace, the oldest first.
#[derive(Default)]
pub(crate) struct Unconnected {
    next: u64,
    waiting: BTreeMap<u64, Entry>,
    /// Positions of the sessions from each address.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// One unconnected session.
struct Entry {
    session: u64,
    address: Option<IpAddr>,
    deadline: Instant,
}

/// Position of a session among the unconnected ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuePosition(u64);

impl Unconnected {
    /// Adds a session as the youngest; `deadline` must not be earlier than another session's.
    pub(crate) fn push(&mut self, session: u64, address: Option<IpAddr>, deadline: Instant) -> QueuePosition {
        let position = self.next;
        self.next += 1;
        let address = address.map(address_key);
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(position);
        }
        self.waiting.insert(position, Entry { session, address, deadline });
        QueuePosition(position)
    }

    pub(crate) fn remove(&mut self, QueuePosition(position): QueuePosition) {
        let Some(Entry { address: Some(address), .. }) = self.waiting.remove(&position) else { return };
        if let Some(positions) = self.by_address.get_mut(&address) {
            positions.remove(&position);
            if positions.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn len_from(&self, address: IpAddr) -> usize {
        self.by_address.get(&address_key(address)).map_or(0, BTreeSet::len)
    }

    /// Returns the oldest session, and the deadline for its connection.
    pub(crate) fn oldest(&self) -> Option<(u64, Instant)> {
        self.waiting.first_key_value().map(|(_, waiting)| (waiting.session, waiting.deadline))
    }

    /// Returns the oldest session from this address.
    pub(crate) fn oldest_from(&self, address: IpAddr) -> Option<u64> {
        let position = self.by_address.get(&address_key(address))?.first()?;
        self.waiting.get(position).map(|waiting| waiting.session)
    }
}

/// Returns the address to count by: of IPv6 the /64, which is assigned as a whole (RFC 6177).
fn address_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_session_is_found_overall_and_per_address() {
        let now = Instant::now();
        let [a, b, b2] = ["1.1.1.1", "2001:db8::1", "2001:db8::2:1"].map(|address| address.parse().unwrap());
        let mut unconnected = Unconnected::default();
        let positions = [(1, Some(a)), (2, Some(b)), (3, None), (4, Some(b2)), (5, Some(a))]
            .map(|(session, address)| unconnected.push(session, address, now));
        assert_eq!((unconnected.len(), unconnected.len_from(a), unconnected.len_from(b)), (5, 2, 2));
        assert_eq!((unconnected.oldest(), unconnected.oldest_from(b2)), (Some((1, now)), Some(2)));
        unconnected.remove(positions[0]);
        unconnected.remove(positions[1]);
        unconnected.remove(positions[1]);
        assert_eq!(
            (unconnected.oldest(), unconnected.oldest_from(a), unconnected.oldest_from(b)),
            (Some((3, now)), Some(5), Some(4))
        );
        for position in positions {
            unconnected.remove(position);
        }
        assert_eq!((unconnected.len(), unconnected.oldest(), unconnected.by_address.len()), (0, None, 0));
    }
}
