use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Extensions;

/// What the application keeps about one connection, one value of each type, for as long as the connection lives and its last
/// hook runs. Clones are the same data.
///
/// Handlers of one connection run one after the other, so that a value that is read and set again by handlers alone is
/// never set in between.
#[derive(Clone, Debug, Default)]
pub struct ConnectionData(Arc<Mutex<Extensions>>);

impl ConnectionData {
    /// Keeps a value, in the place of an earlier one of its type, which is given back.
    pub fn set<T: Send + Sync + 'static>(&self, value: T) -> Option<Arc<T>> {
        self.lock().insert(Arc::new(value))
    }

    /// The value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.lock().get::<Arc<T>>().cloned()
    }

    /// Takes the value of this type away.
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
    fn what_is_set_is_there_until_it_is_taken_away() {
        let data = ConnectionData::default();
        let same = data.clone();
        assert_eq!((data.set(1_u32), data.set("a")), (None, None));
        assert_eq!(same.set(2_u32).as_deref(), Some(&1));
        assert_eq!((data.get::<u32>().as_deref(), data.get::<u64>()), (Some(&2), None));
        assert_eq!((data.remove::<u32>().as_deref(), same.get::<u32>()), (Some(&2), None));
        assert_eq!(same.get::<&str>().as_deref(), Some(&"a"));
    }
}
