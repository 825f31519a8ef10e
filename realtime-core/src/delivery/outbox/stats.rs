use std::time::Duration;

use crate::values::connection::ConnectionInfo;
use crate::values::connection_stats::ConnectionStats;
use crate::values::cursor::Cursor;
use crate::values::position::Position;

/// The counters of one connection's outbox.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events_out: u64,
    pub(crate) bytes_out: u64,
    /// The `u32` counters stop at their largest number: four bytes less of each keep an outbox a
    /// cache line shorter.
    pub(crate) dropped: u32,
    pub(crate) overflows: u32,
    pub(crate) lost: u32,
    pub(crate) superseded: u32,
}

/// A snapshot of an outbox, see [`crate::ConnectionStats`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) behind: bool,
    /// The position up to which everything has been taken.
    pub(crate) taken: Position,
    pub(crate) last_cursor: Position,
    pub(crate) queued_events: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) waiting: Duration,
    pub(crate) counts: Counts,
}

impl Snapshot {
    /// Returns the statistics of a connection that was registered this long ago, at this end of the
    /// log; `cursor` is the newest that the client received.
    pub(crate) fn stats(self, info: &ConnectionInfo, age: Duration, end: Position, cursor: Cursor) -> ConnectionStats {
        let Self { behind, taken, queued_events, queued_bytes, waiting, counts, .. } = self;
        // A live connection without a queue has passed everything.
        let lag = if behind || queued_events > 0 { end.get().saturating_sub(taken.get()) } else { 0 };
        ConnectionStats {
            connection: info.id,
            provider: info.provider.to_owned(),
            user: info.identity.user_name().map(str::to_owned),
            tenant: info.identity.tenant_name().map(str::to_owned),
            connected_ms: age.as_millis() as u64,
            resumed: info.resumed,
            behind,
            lag,
            cursor: cursor.to_string(),
            queued_events: queued_events as u64,
            queued_bytes: queued_bytes as u64,
            waiting_ms: waiting.as_millis() as u64,
            events_out: counts.events_out,
            bytes_out: counts.bytes_out,
            dropped: u64::from(counts.dropped),
            overflows: u64::from(counts.overflows),
            lost: u64::from(counts.lost),
            superseded: u64::from(counts.superseded),
        }
    }
}
