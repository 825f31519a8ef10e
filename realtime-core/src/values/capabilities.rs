use serde::{Deserialize, Serialize};

/// What a provider can do.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Clients can answer, and the server can wait for the answer.
    pub acks: bool,
    /// Clients can send events.
    pub bidirectional: bool,
    /// Events may carry bytes.
    pub binary: bool,
    /// Clients resume from a cursor.
    pub resume: bool,
    /// Sends to a room reach its members only.
    pub rooms: bool,
}

impl Capabilities {
    /// None of them.
    pub const fn none() -> Self {
        Self { acks: false, bidirectional: false, binary: false, resume: false, rooms: false }
    }

    /// With acks.
    pub const fn with_acks(mut self, on: bool) -> Self {
        self.acks = on;
        self
    }

    /// With events from clients.
    pub const fn with_bidirectional(mut self, on: bool) -> Self {
        self.bidirectional = on;
        self
    }

    /// With binary events.
    pub const fn with_binary(mut self, on: bool) -> Self {
        self.binary = on;
        self
    }

    /// With resume from a cursor.
    pub const fn with_resume(mut self, on: bool) -> Self {
        self.resume = on;
        self
    }

    /// With rooms.
    pub const fn with_rooms(mut self, on: bool) -> Self {
        self.rooms = on;
        self
    }
}
