//! Counts of connections that were held back because they, or their tenant, sent too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::values::counted::Counted;

/// The counts of one provider.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    /// The times that a connection was held back, by its own rate and by its tenant's.
    by_connection: AtomicU64,
    by_tenant: AtomicU64,
    /// The connections that are held back now.
    held: Arc<AtomicU64>,
    /// The connections that were closed because their patience had ended.
    closed: AtomicU64,
}

/// Whose rate holds a connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Connection,
    Tenant,
}

impl Throttles {
    pub(crate) fn count(&self, by: By) {
        self.of(by).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is held back now.
    pub(crate) fn hold(&self) -> Counted {
        Counted::new(&self.held)
    }

    pub(crate) fn times(&self, by: By) -> u64 {
        self.of(by).load(Ordering::Relaxed)
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    fn of(&self, by: By) -> &AtomicU64 {
        match by {
            By::Connection => &self.by_connection,
            By::Tenant => &self.by_tenant,
        }
    }
}
