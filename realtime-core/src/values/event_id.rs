use serde::{Deserialize, Serialize};

/// The id that the publisher gives one event; time-ordered and random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(#[serde(with = "uuid::serde::simple")] uuid::Uuid);

impl EventId {
    /// Creates a new id.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Creates the id from these bytes, as a log has stored them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// Returns the bytes, for a log to store.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}
