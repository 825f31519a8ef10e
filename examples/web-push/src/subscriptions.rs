use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

/// The most subscriptions of one user; for one more the oldest is forgotten.
const MOST_OF_A_USER: usize = 10;
/// The most users.
const MOST_USERS: usize = 10_000;

/// A browser's subscription, as `PushSubscription.toJSON()` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    /// The URL of the push service that messages are posted to. Whoever knows it can be pushed to.
    pub endpoint: String,
    /// The browser's keys.
    pub keys: Keys,
}

/// The keys of a subscription, in base64url.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Keys {
    /// The public key, an uncompressed point on P-256.
    pub p256dh: String,
    /// The secret that authenticates messages, of 16 bytes.
    pub auth: String,
}

/// The subscriptions of all users; a real application has them in its database.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions(Arc<Mutex<HashMap<String, Vec<Subscription>>>>);

impl Subscriptions {
    /// Adds a subscription of a user; one with the same endpoint is replaced. Returns `false` when
    /// there are too many users.
    #[must_use]
    pub fn add(&self, user: &str, subscription: Subscription) -> bool {
        let mut all = self.lock();
        if all.len() >= MOST_USERS && !all.contains_key(user) {
            return false;
        }
        let own = all.entry(user.to_owned()).or_default();
        own.retain(|known| known.endpoint != subscription.endpoint);
        if own.len() == MOST_OF_A_USER {
            own.remove(0);
        }
        own.push(subscription);
        true
    }

    /// Returns the subscriptions of a user.
    #[must_use]
    pub fn of(&self, user: &str) -> Vec<Subscription> {
        self.lock().get(user).cloned().unwrap_or_default()
    }

    /// Removes a subscription that has ended.
    pub fn remove(&self, user: &str, endpoint: &str) {
        let mut all = self.lock();
        let Some(own) = all.get_mut(user) else { return };
        own.retain(|known| known.endpoint != endpoint);
        if own.is_empty() {
            all.remove(user);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Subscription>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
