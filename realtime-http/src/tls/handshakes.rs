use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The handshakes under way; beyond their number the oldest ends for a new one.
pub(super) struct Handshakes {
    most: usize,
    /// The handshakes in the order of their begin; the lock is held for one insertion and two
    /// removals at most.
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    under_way: BTreeMap<u64, Arc<Notify>>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self { most, table: Mutex::default() }
    }

    /// Begins a handshake, which is under way until the returned guard is dropped.
    pub(super) fn begin(&self) -> Handshake<'_> {
        let superseded = Arc::new(Notify::new());
        let mut table = self.table();
        if table.under_way.len() >= self.most
            && let Some((_, oldest)) = table.under_way.pop_first()
        {
            oldest.notify_one();
        }
        let number = table.next;
        table.next += 1;
        table.under_way.insert(number, Arc::clone(&superseded));
        Handshake { all: self, number, superseded }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handshake under way.
pub(super) struct Handshake<'a> {
    all: &'a Handshakes,
    number: u64,
    superseded: Arc<Notify>,
}

impl Handshake<'_> {
    /// Waits until this handshake has to end for a newer one.
    pub(super) async fn superseded(&self) {
        self.superseded.notified().await;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.all.table().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn oldest_handshake_ends_for_a_new_one() {
        let handshakes = Handshakes::new(2);
        let (one, two) = (handshakes.begin(), handshakes.begin());
        drop(one);
        let three = handshakes.begin();
        assert!(two.superseded().now_or_never().is_none(), "the first one has ended by itself");
        let _four = handshakes.begin();
        assert!(two.superseded().now_or_never().is_some() && three.superseded().now_or_never().is_none());
        drop(two);
        assert_eq!(handshakes.table().under_way.len(), 2);
    }
}
