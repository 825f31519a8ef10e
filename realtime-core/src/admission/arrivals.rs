use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::admission::address::address_key;

/// Items in the order of their arrival, all of them and those of each client address.
///
/// For what a stranger can have many of before it is known: at a bound the oldest makes room for a
/// new one, so that a client that goes on immediately gets through whatever others do.
#[derive(Debug)]
pub struct Arrivals<T> {
    next: u64,
    items: BTreeMap<u64, (T, Option<IpAddr>)>,
    /// The arrivals of each address, of IPv6 of each /64.
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// The number of an item among the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival(u64);

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { next: 0, items: BTreeMap::new(), by_address: HashMap::new() }
    }
}

impl<T> Arrivals<T> {
    /// Adds an item as the youngest.
    pub fn push(&mut self, item: T, address: Option<IpAddr>) -> Arrival {
        let arrival = self.next;
        self.next += 1;
        let address = address.map(address_key);
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(arrival);
        }
        self.items.insert(arrival, (item, address));
        Arrival(arrival)
    }

    /// Removes an item, unless it was removed already.
    pub fn remove(&mut self, Arrival(arrival): Arrival) -> Option<T> {
        let (item, address) = self.items.remove(&arrival)?;
        if let Some(address) = address
            && let Some(arrivals) = self.by_address.get_mut(&address)
        {
            arrivals.remove(&arrival);
            if arrivals.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(item)
    }

    /// Removes the oldest items, so that after one more from this address there are at most
    /// `per_address` from it, and at most `most` in all; zero is no bound.
    pub fn make_room(&mut self, address: Option<IpAddr>, most: usize, per_address: usize) -> Vec<T> {
        let mut removed = Vec::new();
        let own = address.and_then(|address| self.by_address.get(&address_key(address)));
        if let Some(own) = own.filter(|own| per_address > 0 && own.len() >= per_address) {
            let oldest = own.first().copied();
            removed.extend(oldest.and_then(|oldest| self.remove(Arrival(oldest))));
        }
        if most > 0 && self.items.len() >= most {
            let oldest = self.items.keys().next().copied();
            removed.extend(oldest.and_then(|oldest| self.remove(Arrival(oldest))));
        }
        removed
    }

    /// Returns the oldest item.
    #[must_use]
    pub fn oldest(&self) -> Option<&T> {
        self.items.first_key_value().map(|(_, (item, _))| item)
    }

    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> (Arrivals<u32>, Vec<Arrival>) {
        let mut arrivals = Arrivals::default();
        let items = [(1, Some("1.1.1.1")), (2, Some("2001:db8::1")), (3, None), (4, Some("2001:db8::2:1"))];
        let pushed = items.map(|(item, address)| arrivals.push(item, address.map(|address| address.parse().unwrap())));
        (arrivals, pushed.into())
    }

    #[test]
    fn oldest_makes_room_in_all_and_of_its_address() {
        let address = |text: &str| Some(text.parse().unwrap());
        let room = |of: Option<IpAddr>, most, per_address| filled().0.make_room(of, most, per_address);
        assert!(room(address("1.1.1.1"), 5, 2).is_empty(), "there is room");
        assert!(room(address("1.1.1.1"), 0, 0).is_empty(), "no bound");
        assert_eq!(room(address("1.1.1.1"), 5, 1), [1]);
        assert_eq!(room(address("2001:db8::9"), 5, 2), [2], "one /64");
        assert!(room(address("2001:db8:0:1::9"), 5, 1).is_empty(), "another /64");
        assert_eq!(room(None, 4, 1), [1]);
        assert_eq!(room(address("2001:db8::9"), 4, 2), [2], "which is enough for the other bound");
    }

    #[test]
    fn nothing_is_kept_of_what_was_removed() {
        let (mut arrivals, pushed) = filled();
        assert_eq!((arrivals.remove(pushed[0]), arrivals.remove(pushed[0])), (Some(1), None));
        assert_eq!((arrivals.oldest(), arrivals.len()), (Some(&2), 3));
        let rest = pushed.into_iter().filter_map(|arrival| arrivals.remove(arrival));
        assert_eq!(rest.collect::<Vec<_>>(), [2, 3, 4]);
        assert!(arrivals.is_empty() && arrivals.by_address.is_empty());
    }
}
