use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The most values that are kept although no connection has them.
const MOST_KEPT: usize = 1_000;
/// The time between two searches for those whose time is over.
const SWEEP: Duration = Duration::from_millis(100);

/// A value for each tenant, for as long as a connection has it, and for some time after: there are
/// never more than tenants that are connected, and 1,000.
pub(crate) struct ByTenant<T> {
    /// The time for which a value is kept that no connection has any more.
    keep: Duration,
    /// Short: held for a lookup or a change only.
    table: Mutex<Table<T>>,
}

/// A value that connections have; and the value itself, for one that comes while the last of them
/// is dropped.
type Used<T> = (Weak<OfTenant<T>>, Arc<T>);

struct Table<T> {
    used: HashMap<Arc<str>, Used<T>>,
    /// Those that no connection has any more, with the time at which the last one ended.
    kept: HashMap<Arc<str>, (Arc<T>, Instant)>,
    /// The time before which no kept value is looked for whose time is over.
    next_sweep: Instant,
}

/// The value of one tenant; the last one that is dropped takes it out of the table.
pub(crate) struct OfTenant<T> {
    value: Arc<T>,
    tenant: Arc<str>,
    table: Weak<ByTenant<T>>,
}

impl<T> ByTenant<T> {
    /// Creates a table whose values are forgotten with their last connection.
    pub(crate) fn new() -> Arc<Self> {
        Self::keeping(Duration::ZERO)
    }

    /// Creates a table whose values are kept for this time after their last connection.
    pub(crate) fn keeping(keep: Duration) -> Arc<Self> {
        let table = Table { used: HashMap::new(), kept: HashMap::new(), next_sweep: Instant::now() };
        Arc::new(Self { keep, table: Mutex::new(table) })
    }

    /// Returns the value of a tenant, which is created if there is none.
    pub(crate) fn of(self: &Arc<Self>, tenant: &str, create: impl FnOnce() -> T) -> Arc<OfTenant<T>> {
        let mut table = self.lock();
        let used = table.used.get(tenant);
        if let Some(value) = used.and_then(|(of_tenant, _)| of_tenant.upgrade()) {
            return value;
        }
        let dropped = used.map(|(_, value)| Arc::clone(value));
        let kept = table.kept.remove(tenant).filter(|(_, since)| since.elapsed() < self.keep);
        let value = dropped.or(kept.map(|(value, _)| value)).unwrap_or_else(|| Arc::new(create()));
        let tenant: Arc<str> = tenant.into();
        let (of_all, of_table) = (Arc::downgrade(self), Arc::clone(&value));
        let value = Arc::new(OfTenant { value, tenant: Arc::clone(&tenant), table: of_all });
        table.used.insert(tenant, (Arc::downgrade(&value), of_table));
        value
    }

    /// Returns the number of tenants that are connected, and of those whose values are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        let table = self.lock();
        (table.used.len(), table.kept.len())
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Table<T> {
    /// Keeps a value if there is room.
    fn keep(&mut self, tenant: &Arc<str>, value: &Arc<T>, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = Instant::now();
        if self.kept.len() >= MOST_KEPT && now >= self.next_sweep {
            self.kept.retain(|_, (_, since)| now.duration_since(*since) < time);
            self.next_sweep = now + SWEEP;
        }
        if self.kept.len() < MOST_KEPT {
            self.kept.insert(Arc::clone(tenant), (Arc::clone(value), now));
        }
    }
}

impl<T> std::fmt::Debug for ByTenant<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByTenant").field("tenants", &self.lock().used.len()).finish_non_exhaustive()
    }
}

impl<T> Deref for OfTenant<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for OfTenant<T> {
    fn drop(&mut self) {
        let Some(of_all) = self.table.upgrade() else { return };
        let mut table = of_all.lock();
        // Not one that was created since.
        if table.used.get(&self.tenant).is_some_and(|(value, _)| value.strong_count() == 0) {
            table.used.remove(&self.tenant);
            table.keep(&self.tenant, &self.value, of_all.keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_shared_and_forgotten_with_the_last_user() {
        let table = ByTenant::new();
        let first = table.of("acme", || 1);
        let second = table.of("acme", || 2);
        assert_eq!((**first, **second, table.len()), (1, 1, (1, 0)));
        drop(first);
        assert_eq!(**table.of("acme", || 3), 1);
        drop(second);
        assert_eq!(table.len(), (0, 0));
        assert_eq!(**table.of("acme", || 4), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn value_is_kept_for_its_time_and_their_number_is_bounded() {
        let second = Duration::from_secs(1);
        let table = ByTenant::keeping(2 * second);
        drop(table.of("acme", || 1));
        tokio::time::sleep(second).await;
        assert_eq!(**table.of("acme", || 2), 1, "the time begins with the last connection's end");
        tokio::time::sleep(second).await;
        assert_eq!(**table.of("acme", || 3), 1);
        tokio::time::sleep(2 * second).await;
        assert_eq!(**table.of("acme", || 4), 4);
        for n in 0..2 * MOST_KEPT {
            drop(table.of(&n.to_string(), || 0));
        }
        assert_eq!(table.len(), (0, MOST_KEPT));
        tokio::time::sleep(2 * second).await;
        drop(table.of("other", || 0));
        assert_eq!(table.len(), (0, 1));
    }
}
