use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Identity, Limits, Refusal, RefusalKind};

/// Counts connections against their limits. Apart from the hub, so that a transport can refuse before an upgrade.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    /// Check and insert are one critical section, so no race lets one too many in.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    users: HashMap<Arc<str>, usize>,
}

/// A counted place; dropping it gives the place back.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    user: Option<Arc<str>>,
}

impl Admission {
    /// Counts from zero.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Takes a place for a connection of this identity.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`] or [`RefusalKind::UserLimit`].
    pub fn admit(self: &Arc<Self>, identity: &Identity) -> Result<Ticket, Refusal> {
        let user = identity.shared_user().cloned();
        let mut counts = self.lock();
        if counts.connections >= self.limits.connections {
            return Err(Refusal::new(RefusalKind::NodeLimit, "this node takes no more connections"));
        }
        if let Some(user) = &user {
            let count = counts.users.entry(Arc::clone(user)).or_default();
            if *count >= self.limits.connections_per_user {
                return Err(Refusal::new(RefusalKind::UserLimit, "this user has too many connections"));
            }
            *count += 1;
        }
        counts.connections += 1;
        drop(counts);
        Ok(Ticket { admission: Arc::clone(self), user })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.connections -= 1;
        if let Some(user) = &self.user
            && let Some(count) = counts.users.get_mut(user)
        {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let admission = Admission::new(Limits::default().with_connections(3).with_connections_per_user(2));
        let ann = Identity::user("ann");
        let first = admission.admit(&ann).unwrap();
        let _second = admission.admit(&ann).unwrap();
        assert_eq!(admission.admit(&ann).unwrap_err().kind(), RefusalKind::UserLimit);
        let _third = admission.admit(&Identity::anonymous()).unwrap();
        assert_eq!(admission.admit(&Identity::anonymous()).unwrap_err().kind(), RefusalKind::NodeLimit);
        drop(first);
        assert!(admission.admit(&ann).is_ok());
    }

    #[test]
    fn a_zero_limit_leaves_no_trace() {
        let admission = Admission::new(Limits::default().with_connections_per_user(0));
        assert!(admission.admit(&Identity::user("ann")).is_err());
        assert_eq!(admission.lock().connections, 0);
    }
}
