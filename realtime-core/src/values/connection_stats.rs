use serde::{Deserialize, Serialize};

use crate::values::connection::ConnectionId;

/// The current state of one connection, and counters of its deliveries since it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConnectionStats {
    /// The connection's id.
    pub connection: ConnectionId,
    /// The provider's name.
    pub provider: String,
    /// The user, if there is one.
    pub user: Option<String>,
    /// The tenant, if there is one.
    pub tenant: Option<String>,
    /// The time since the connection was registered, in milliseconds.
    pub connected_ms: u64,
    /// `true` if the connection resumed from a cursor.
    pub resumed: bool,
    /// `true` if the connection is reading the window now instead of being live.
    pub behind: bool,
    /// The number of records of the log, for any recipient, that were applied after the last one
    /// the connection has taken or passed.
    pub lag: u64,
    /// The newest cursor that was sent to the client.
    pub cursor: String,
    /// The number of events, replies and acks in the outbox.
    pub queued_events: u64,
    /// The bytes of the frames in the outbox.
    pub queued_bytes: u64,
    /// The time that the outbox's oldest entry has waited without a take, in milliseconds; 0 when
    /// nothing waits.
    pub waiting_ms: u64,
    /// The number of events, replies and acks handed to the connection's session.
    pub events_out: u64,
    /// The bytes of these frames.
    pub bytes_out: u64,
    /// The number of volatile events dropped because the connection was slow.
    pub dropped: u64,
    /// The number of times the outbox overflowed and the connection fell behind.
    pub overflows: u64,
    /// The number of times the client was notified that its position had left the window.
    pub lost: u64,
    /// The number of events left out because a newer one with the same [`crate::Event::latest_key`]
    /// was there.
    pub superseded: u64,
}
