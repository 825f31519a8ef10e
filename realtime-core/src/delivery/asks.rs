use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::values::ack::Ask;
use crate::values::connection::ConnectionId;

/// The most asks of one node that are open with one connection at a time; for one more, the oldest
/// is given up.
pub const MAX_OPEN_ASKS: usize = 1024;

/// The open asks of this node, by number and by the connections that may still answer them, so that
/// a disconnect costs no more than the asks that the connection got.
#[derive(Default)]
pub(crate) struct Asks {
    by_number: HashMap<u64, Open>,
    /// No entry is empty.
    by_connection: HashMap<ConnectionId, BTreeSet<u64>>,
}

struct Open {
    ask: Arc<Ask>,
    /// The connections that got the ask and have no outcome yet.
    connections: HashSet<ConnectionId>,
}

impl Asks {
    /// Adds an ask under its number, the position of its record.
    pub(crate) fn begin(&mut self, number: u64, ask: Arc<Ask>) {
        self.by_number.insert(number, Open { ask, connections: HashSet::new() });
    }

    /// Adds a connection that is about to get the ask; returns another ask that is given up for it.
    pub(crate) fn expect(&mut self, number: u64, connection: ConnectionId) -> Option<Arc<Ask>> {
        let open = self.by_number.get_mut(&number)?;
        open.connections.insert(connection);
        let numbers = self.by_connection.entry(connection).or_default();
        numbers.insert(number);
        let oldest = numbers.first().copied().filter(|_| numbers.len() > MAX_OPEN_ASKS)?;
        self.settle(oldest, connection)
    }

    /// Removes a connection that has an outcome; returns the ask, if the outcome was awaited.
    pub(crate) fn settle(&mut self, number: u64, connection: ConnectionId) -> Option<Arc<Ask>> {
        let open = self.by_number.get_mut(&number)?;
        if !open.connections.remove(&connection) {
            return None;
        }
        let ask = Arc::clone(&open.ask);
        self.forget(number, connection);
        Some(ask)
    }

    /// Returns whether an answer of a connection is awaited.
    pub(crate) fn awaits(&self, number: u64, connection: ConnectionId) -> bool {
        self.by_number.get(&number).is_some_and(|open| open.connections.contains(&connection))
    }

    /// Removes a connection that has left the hub; returns the asks that await it.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> Vec<Arc<Ask>> {
        let numbers = self.by_connection.remove(&connection).unwrap_or_default();
        let mut asks = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(open) = self.by_number.get_mut(&number) {
                open.connections.remove(&connection);
                asks.push(Arc::clone(&open.ask));
            }
        }
        asks
    }

    /// Removes an ask that no caller waits for any more, unless its number is another ask's in a
    /// new life of the log.
    pub(crate) fn end(&mut self, number: u64, ask: &Arc<Ask>) {
        if self.by_number.get(&number).is_none_or(|open| !Arc::ptr_eq(&open.ask, ask)) {
            return;
        }
        let Some(open) = self.by_number.remove(&number) else { return };
        for connection in open.connections {
            self.forget(number, connection);
        }
    }

    /// Removes all asks, since a new life of the log reuses their numbers; returns each with the
    /// connections that have no outcome yet.
    pub(crate) fn begin_anew(&mut self) -> Vec<(Arc<Ask>, HashSet<ConnectionId>)> {
        let Self { by_number, .. } = std::mem::take(self);
        by_number.into_values().map(|open| (open.ask, open.connections)).collect()
    }

    fn forget(&mut self, number: u64, connection: ConnectionId) {
        if let Some(numbers) = self.by_connection.get_mut(&connection) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_asks_leave_no_entries() {
        let mut asks = Asks::default();
        let [ann, bob, eve] = [(); 3].map(|()| ConnectionId::random());
        let known: Vec<_> = (0..4).map(|_| Arc::new(Ask::new())).collect();
        for number in 1..=3 {
            asks.begin(number, Arc::clone(&known[number as usize]));
            for connection in [ann, bob, eve] {
                asks.expect(number, connection);
            }
        }
        assert!(asks.settle(1, ann).is_some());
        assert!(asks.settle(1, ann).is_none(), "answered");
        assert_eq!(asks.leave(ann).len(), 2);
        assert!(asks.leave(ann).is_empty() && asks.settle(2, ann).is_none(), "disconnected");
        asks.end(2, &known[2]);
        assert_eq!(asks.leave(bob).len(), 2);
        asks.expect(2, eve);
        asks.end(3, &known[0]);
        assert!(asks.by_number.contains_key(&3), "another ask's");
        asks.end(1, &known[1]);
        asks.end(3, &known[3]);
        assert!(asks.by_number.is_empty() && asks.by_connection.is_empty());
    }
}
