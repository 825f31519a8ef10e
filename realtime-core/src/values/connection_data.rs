use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

/// The application's data about one connection, one value of each type, which lives until the
/// connection's last hook has run. Clones are the same data.
///
/// Handlers of one connection run one after the other, so that a value that only handlers read and
/// set again is never set in between.
#[derive(Clone, Debug, Default)]
pub struct ConnectionData(Arc<Mutex<Extensions>>);

impl ConnectionData {
    /// Stores a value, and returns the earlier one of its type that it replaces.
    pub fn set<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.lock().insert(Arc::new(value))
    }

    /// Returns the value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.lock().get::<Arc<T>>().cloned()
    }

    /// Removes and returns the value of this type.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.lock().remove()
    }

    fn lock(&self) -> MutexGuard<'_, Extensions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_kept_until_it_is_removed() {
        let data = ConnectionData::default();
        let same = data.clone();
        assert_eq!((data.set(1_u32), data.set("a")), (None, None));
        assert_eq!(same.set(2_u32).as_deref(), Some(&1));
        assert_eq!((data.get::<u32>().as_deref(), data.get::<u64>()), (Some(&2), None));
        assert_eq!((data.remove::<u32>().as_deref(), same.get::<u32>()), (Some(&2), None));
        assert_eq!(same.get::<&str>().as_deref(), Some(&"a"));
    }
}
