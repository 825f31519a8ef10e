use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use tokio::time::Instant;

/// Sessions that are connected to no namespace, the oldest first.
#[derive(Default)]
pub(crate) struct Lobby {
    next: u64,
    guests: BTreeMap<u64, Guest>,
    /// The turns of those that come from an address.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

struct Guest {
    session: u64,
    address: Option<IpAddr>,
    until: Instant,
}

/// A session's place in the order of those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(u64);

impl Lobby {
    /// The youngest from now on; `until` must not be earlier than another one's.
    pub(crate) fn enter(&mut self, session: u64, address: Option<IpAddr>, until: Instant) -> Turn {
        let turn = self.next;
        self.next += 1;
        let address = address.map(counted_as);
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(turn);
        }
        self.guests.insert(turn, Guest { session, address, until });
        Turn(turn)
    }

    pub(crate) fn leave(&mut self, Turn(turn): Turn) {
        let Some(Guest { address: Some(address), .. }) = self.guests.remove(&turn) else { return };
        if let Some(turns) = self.by_address.get_mut(&address) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.guests.len()
    }

    pub(crate) fn len_from(&self, address: IpAddr) -> usize {
        self.by_address.get(&counted_as(address)).map_or(0, BTreeSet::len)
    }

    /// The oldest session, and until when it may stay.
    pub(crate) fn oldest(&self) -> Option<(u64, Instant)> {
        self.guests.first_key_value().map(|(_, guest)| (guest.session, guest.until))
    }

    /// The oldest session from this address.
    pub(crate) fn oldest_from(&self, address: IpAddr) -> Option<u64> {
        let turn = self.by_address.get(&counted_as(address))?.first()?;
        self.guests.get(turn).map(|guest| guest.session)
    }
}

/// Who has one address of IPv6 has its network of 64 bits (RFC 6177).
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
        let mut lobby = Lobby::default();
        let turns = [(1, Some(a)), (2, Some(b)), (3, None), (4, Some(b2)), (5, Some(a))]
            .map(|(session, address)| lobby.enter(session, address, now));
        assert_eq!((lobby.len(), lobby.len_from(a), lobby.len_from(b)), (5, 2, 2));
        assert_eq!((lobby.oldest(), lobby.oldest_from(b2)), (Some((1, now)), Some(2)));
        lobby.leave(turns[0]);
        lobby.leave(turns[1]);
        lobby.leave(turns[1]);
        assert_eq!((lobby.oldest(), lobby.oldest_from(a), lobby.oldest_from(b)), (Some((3, now)), Some(5), Some(4)));
        for turn in turns {
            lobby.leave(turn);
        }
        assert_eq!((lobby.len(), lobby.oldest(), lobby.by_address.len()), (0, None, 0));
    }
}
