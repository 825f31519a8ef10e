use serde::{Deserialize, Serialize};

use crate::values::connection::ConnectionId;

/// How one connection stands now, and what became of what was for it since it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Its id.
    pub connection: ConnectionId,
    /// The provider's name.
    pub provider: String,
    /// Its user.
    pub user: Option<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// Since when it has been there, in milliseconds.
    pub connected_ms: u64,
    /// Whether it went on from a cursor.
    pub resumed: bool,
    /// Whether it reads the window now instead of being live.
    pub behind: bool,
    /// Records of the log, for whomever, that were applied after the last one it has taken or passed.
    pub lag: u64,
    /// The newest place it was told.
    pub cursor: String,
    /// Events, replies and acks that wait in its outbox.
    pub queued_events: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How long something has been waiting without being taken, in milliseconds; 0 when nothing waits.
    pub waiting_ms: u64,
    /// Events, replies and acks handed to the wire.
    pub events_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Volatile events dropped because it was slow.
    pub dropped: u64,
    /// Times its full outbox put it behind.
    pub overflows: u64,
    /// Times it was told that its place had left the window.
    pub lost: u64,
    /// Events left out because a newer one with the same [`crate::Event::latest_key`] was there.
    pub superseded: u64,
}
