use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use socketioxide::socket::Sid;
use tokio::sync::Notify;

use crate::carrier::Carrier;

/// All Engine.IO sessions of this node, connected to a namespace or not.
#[derive(Default)]
pub(crate) struct Carriers {
    table: Mutex<Table>,
    /// Told when the last connection is over.
    emptied: Notify,
}

/// Held for lookups and inserts only.
#[derive(Default)]
struct Table {
    next: u64,
    shut: bool,
    /// Connections to the main namespace whose end has not been told.
    connections: usize,
    all: HashMap<u64, Arc<Carrier>>,
    /// Those that began on long polling, whose requests name them.
    by_sid: HashMap<Sid, Arc<Carrier>>,
}

impl Carriers {
    /// A new session's carrier; it is forgotten with the last clone of its berth.
    ///
    /// None when the node is going down.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Berth> {
        let carrier = Arc::new(Carrier::default());
        let mut table = self.lock();
        if table.shut {
            return None;
        }
        let id = table.next;
        table.next += 1;
        table.all.insert(id, Arc::clone(&carrier));
        Some(Berth(Arc::new(Inner { carrier, carriers: Arc::clone(self), id, sid: OnceLock::new() })))
    }

    pub(crate) fn find(&self, sid: Sid) -> Option<Arc<Carrier>> {
        self.lock().by_sid.get(&sid).cloned()
    }

    /// Counts a connection, until the guard is dropped.
    pub(crate) fn connect(self: &Arc<Self>) -> Connected {
        self.lock().connections += 1;
        Connected(Arc::clone(self))
    }

    /// Ends every session, lets none in any more, and waits until all connections are over.
    ///
    /// A session that never connected is remembered until `connect_timeout`, by engineioxide too.
    pub(crate) async fn close(&self) {
        let all: Vec<_> = {
            let mut table = self.lock();
            table.shut = true;
            table.all.values().cloned().collect()
        };
        for carrier in all {
            carrier.close();
        }
        loop {
            let emptied = self.emptied.notified();
            if self.lock().connections == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().all.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place among the carriers. It travels in the opening request's extensions, which
/// engineioxide keeps as long as the session lives, so its drop is the session's end.
#[derive(Clone)]
pub(crate) struct Berth(Arc<Inner>);

struct Inner {
    carrier: Arc<Carrier>,
    carriers: Arc<Carriers>,
    id: u64,
    sid: OnceLock<Sid>,
}

impl Berth {
    pub(crate) fn carrier(&self) -> &Arc<Carrier> {
        &self.0.carrier
    }

    /// From here on the session's requests find it by its id.
    pub(crate) fn name(&self, sid: Sid) {
        if self.0.sid.set(sid).is_ok() {
            self.0.carriers.lock().by_sid.insert(sid, Arc::clone(&self.0.carrier));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut table = self.carriers.lock();
        table.all.remove(&self.id);
        if let Some(sid) = self.sid.get() {
            table.by_sid.remove(sid);
        }
        drop(table);
        self.carrier.close();
    }
}

/// One connection to the main namespace.
pub(crate) struct Connected(Arc<Carriers>);

impl Drop for Connected {
    fn drop(&mut self) {
        let left = {
            let mut table = self.0.lock();
            table.connections -= 1;
            table.connections
        };
        if left == 0 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_carrier_is_forgotten_with_its_berth() {
        let carriers = Arc::new(Carriers::default());
        let berth = carriers.open().expect("not shut");
        let sid = Sid::new();
        berth.name(sid);
        let clone = berth.clone();
        drop(berth);
        let carrier = carriers.find(sid).expect("still open");
        drop(clone);
        assert!(carriers.find(sid).is_none());
        assert_eq!(carriers.len(), 0);
        assert!(carrier.is_closing());
    }

    #[tokio::test]
    async fn close_ends_all_and_waits_for_the_last() {
        let carriers = Arc::new(Carriers::default());
        let berth = carriers.open().expect("not shut");
        let connection = carriers.connect();
        let mut close = std::pin::pin!(carriers.close());
        assert!((&mut close).now_or_never().is_none());
        assert!(berth.carrier().is_closing());
        assert!(carriers.open().is_none());
        drop(connection);
        close.await;
    }
}
