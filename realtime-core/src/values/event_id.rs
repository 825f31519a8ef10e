use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The id that the publisher gives one event; time-ordered and random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(#[serde(with = "uuid::serde::simple")] uuid::Uuid);

impl EventId {
    /// Creates a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Creates the id from these bytes, as a log has stored them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// Returns the bytes, for a log to store.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Reads the text of an id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(Self)
    }

    /// Returns the time at which the id was made, by the publisher's clock, in milliseconds since
    /// 1970; `None` for an id that [`EventId::random`] did not make.
    #[must_use]
    pub fn created_ms(self) -> Option<u64> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        Some(seconds * 1_000 + u64::from(nanoseconds / 1_000_000))
    }

    /// Returns the same as a time; that of 1970 if there is none.
    pub(crate) fn time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.created_ms().unwrap_or(0))).unwrap_or(UNIX_EPOCH)
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}
