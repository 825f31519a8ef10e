use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The revocation of a token's id until a time, to the millisecond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revocation {
    /// The token's id.
    pub token: Arc<str>,
    /// The milliseconds since 1970 until which the revocation holds.
    pub until_ms: u64,
}

impl Revocation {
    /// Creates the revocation of a token's id until a time.
    #[must_use]
    pub fn new(token: &str, until: SystemTime) -> Self {
        let since = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Within what JSON numbers, and so every store, hold exactly.
        Self { token: token.into(), until_ms: u64::try_from(since).unwrap_or(u64::MAX).min(1 << 53) }
    }

    /// Returns the time until which the revocation holds.
    #[must_use]
    pub fn until(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.until_ms)
    }

    /// Returns whether the revocation holds no longer.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until() <= now
    }
}
