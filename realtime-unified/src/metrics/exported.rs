use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::metrics::Key;
use realtime_core::Distribution;

/// The values that the recorder has of each histogram, which can only be added to.
#[derive(Debug, Default)]
pub(crate) struct Exported(Mutex<HashMap<Key, Distribution>>);

impl Exported {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<Key, Distribution>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
