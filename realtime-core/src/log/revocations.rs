use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::values::error::{Error, Result};
use crate::values::revocation::Revocation;

/// A table of revocations, each until its time: what a node knows, and what a log in this process
/// stores.
#[derive(Debug, Default)]
pub struct RevocationTable(Mutex<HashMap<Arc<str>, u64>>);

/// The revocations that a node knows.
#[derive(Default)]
pub(crate) struct Revocations {
    pub(super) table: RevocationTable,
    /// Notified when the stored ones are to be read before the next interval.
    pub(super) load_requested: Notify,
}

impl RevocationTable {
    /// Adds a revocation, if fewer than `most` other tokens are revoked; those that are over are
    /// forgotten.
    ///
    /// # Errors
    /// [`Error::TooManyRevocations`].
    pub fn add_within(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.forget(SystemTime::now());
        let mut table = self.lock();
        if table.len() >= most && !table.contains_key(&revocation.token) {
            return Err(Error::TooManyRevocations { most });
        }
        insert(&mut table, revocation);
        Ok(())
    }

    /// Adds a revocation; of two of a token the later end counts. Returns whether the token was not
    /// revoked before.
    #[allow(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn add(&self, revocation: &Revocation) -> bool {
        insert(&mut self.lock(), revocation)
    }

    /// Returns all revocations.
    #[must_use]
    pub fn all(&self) -> Vec<Revocation> {
        let all = |(token, until_ms): (&Arc<str>, &u64)| Revocation { token: Arc::clone(token), until_ms: *until_ms };
        self.lock().iter().map(all).collect()
    }

    /// Forgets the revocations that are over.
    pub fn forget(&self, now: SystemTime) {
        let now = Revocation::new("", now).until_ms;
        self.lock().retain(|_, until| *until > now);
    }

    /// Returns whether a token is revoked.
    pub(crate) fn holds(&self, token: &str, now: SystemTime) -> bool {
        let now = Revocation::new("", now).until_ms;
        self.lock().get(token).is_some_and(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a revocation; returns whether the token was not revoked before.
fn insert(table: &mut HashMap<Arc<str>, u64>, revocation: &Revocation) -> bool {
    match table.get_mut(&revocation.token) {
        Some(until) => {
            *until = (*until).max(revocation.until_ms);
            false
        }
        None => table.insert(Arc::clone(&revocation.token), revocation.until_ms).is_none(),
    }
}

impl Revocations {
    /// Adds a revocation that the log or the backplane has.
    pub(super) fn add(&self, revocation: &Revocation) -> bool {
        self.table.add(revocation)
    }

    /// Has the stored revocations read soon.
    pub(super) fn request_load(&self) {
        self.load_requested.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn table_is_bounded_and_forgets_what_is_over() {
        let (table, now) = (RevocationTable::default(), SystemTime::now());
        let revocation = |token, seconds| Revocation::new(token, now + Duration::from_secs(seconds));
        for token in ["a", "b"] {
            table.add_within(&revocation(token, 60), 2).unwrap();
        }
        let full = table.add_within(&revocation("c", 60), 2);
        assert!(matches!(full, Err(Error::TooManyRevocations { most: 2 })), "{full:?}");
        table.add_within(&revocation("a", 90), 2).unwrap();
        table.add_within(&revocation("a", 30), 2).unwrap();
        assert!(table.holds("a", now + Duration::from_secs(80)), "the later end counts");
        assert!(!table.holds("b", now + Duration::from_secs(61)) && !table.holds("c", now));
        table.forget(now + Duration::from_secs(70));
        assert_eq!(table.all(), [revocation("a", 90)]);
    }
}
