use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A value for each tenant, for as long as a connection has it: there are never more than tenants
/// that are connected.
pub(crate) struct ByTenant<T> {
    /// Short: held for a lookup or a change only.
    table: Mutex<HashMap<Arc<str>, Weak<OfTenant<T>>>>,
}

/// The value of one tenant; the last one that is dropped takes it out of the table.
pub(crate) struct OfTenant<T> {
    value: T,
    tenant: Arc<str>,
    table: Weak<ByTenant<T>>,
}

impl<T> ByTenant<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { table: Mutex::default() })
    }

    /// Returns the value of a tenant, which is created if no connection has it.
    pub(crate) fn of(self: &Arc<Self>, tenant: &str, create: impl FnOnce() -> T) -> Arc<OfTenant<T>> {
        let mut table = self.lock();
        if let Some(value) = table.get(tenant).and_then(Weak::upgrade) {
            return value;
        }
        let tenant: Arc<str> = tenant.into();
        let value = Arc::new(OfTenant { value: create(), tenant: Arc::clone(&tenant), table: Arc::downgrade(self) });
        table.insert(tenant, Arc::downgrade(&value));
        value
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<OfTenant<T>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for ByTenant<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByTenant").field("tenants", &self.lock().len()).finish()
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
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.lock();
        // Not one that was created since.
        if table.get(&self.tenant).is_some_and(|value| value.strong_count() == 0) {
            table.remove(&self.tenant);
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
        assert_eq!((**first, **second, table.len()), (1, 1, 1));
        drop(first);
        assert_eq!(**table.of("acme", || 3), 1);
        drop(second);
        assert_eq!(table.len(), 0);
        assert_eq!(**table.of("acme", || 4), 4);
    }
}
