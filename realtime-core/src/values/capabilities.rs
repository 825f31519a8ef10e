use serde::{Deserialize, Serialize};

/// The capabilities of a provider.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// `true` if clients can answer, and the server can wait for the answer.
    pub acks: bool,
    /// `true` if clients can send events.
    pub bidirectional: bool,
    /// `true` if events may carry bytes.
    pub binary: bool,
    /// `true` if clients resume from a cursor.
    pub resume: bool,
    /// `true` if the provider has rooms: a send to one reaches only its members.
    pub rooms: bool,
}

impl Capabilities {
    /// Creates a value without any capability.
    #[must_use]
    pub const fn none() -> Self {
        Self { acks: false, bidirectional: false, binary: false, resume: false, rooms: false }
    }

    /// Sets whether clients can answer.
    #[must_use]
    pub const fn with_acks(mut self, on: bool) -> Self {
        self.acks = on;
        self
    }

    /// Sets whether clients can send events.
    #[must_use]
    pub const fn with_bidirectional(mut self, on: bool) -> Self {
        self.bidirectional = on;
        self
    }

    /// Sets whether events may carry bytes.
    #[must_use]
    pub const fn with_binary(mut self, on: bool) -> Self {
        self.binary = on;
        self
    }

    /// Sets whether clients resume from a cursor.
    #[must_use]
    pub const fn with_resume(mut self, on: bool) -> Self {
        self.resume = on;
        self
    }

    /// Sets whether the provider has rooms.
    #[must_use]
    pub const fn with_rooms(mut self, on: bool) -> Self {
        self.rooms = on;
        self
    }
}
