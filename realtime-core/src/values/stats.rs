use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::values::close::CloseReason;
use crate::values::refusal::RefusalKind;
use crate::values::throttles::{By, Throttles};
use crate::values::timings::{Timers, Timings};

/// The activity of one provider on this node since it started; counters only grow, gauges are
/// current values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Stats {
    /// The current number of connections.
    pub connections: u64,
    /// The number of users that have a connection now.
    pub users: u64,
    /// The number of rooms that have a connected member now.
    pub rooms: u64,
    /// The number of connections that are reading the window now instead of being live.
    pub behind: u64,
    /// The number of events, replies and acks that wait in outboxes now.
    pub queued_events: u64,
    /// The bytes of the frames that wait in outboxes now.
    pub queued_bytes: u64,
    /// The longest time that something has waited in an outbox without a take, in milliseconds.
    pub waiting_ms: u64,
    /// The number of connections accepted.
    pub connected: u64,
    /// The number of events from clients.
    pub events_in: u64,
    /// The number of events, replies and acks handed to sessions, counted per connection.
    pub events_out: u64,
    /// The bytes of events from clients.
    pub bytes_in: u64,
    /// The bytes of frames handed to sessions.
    pub bytes_out: u64,
    /// The number of deliveries that will not happen (volatile events to full outboxes, connections
    /// just closed).
    pub dropped: u64,
    /// The part of `dropped` that was for connections just closed.
    pub dropped_closed: u64,
    /// The number of times a full outbox put its connection behind.
    pub overflows: u64,
    /// The number of times a client was notified that its position had left the window.
    pub lost: u64,
    /// The number of events left out because a newer one with the same [`crate::Event::latest_key`]
    /// was there.
    pub superseded: u64,
    /// The number of connections closed because they took nothing for too long.
    pub stalled: u64,
    /// The number of handlers that still run, or have something left to handle, for closed
    /// connections.
    pub lingering: u64,
    /// The number of closed connections that still have hooks to run.
    pub lingering_hooks: u64,
    /// The number of connections now whose events wait for a free handler slot.
    pub waiting_handlers: u64,
    /// The number of times that reading was held back because a connection was over its rate.
    pub throttled: u64,
    /// The number of times that reading was held back because a tenant was over its rate.
    pub throttled_by_tenant: u64,
    /// The number of times in `throttled`, by the kind of what was read last: `control`, `event` or
    /// `fragment`.
    pub throttled_kinds: BTreeMap<String, u64>,
    /// The number of times in `throttled_by_tenant`, by the same kinds.
    pub throttled_by_tenant_kinds: BTreeMap<String, u64>,
    /// The number of connections that are held back now.
    pub throttled_now: u64,
    /// The number of connections closed because they had been over their rate for too long, which
    /// are among those of code 1008 in `closed`.
    pub rate_limited: u64,
    /// The number of events from clients that no handler started on, because their connection was
    /// lost or closed by this side first, or because they arrived after the start of a drain.
    pub unhandled: u64,
    /// The number of handlers, lifecycle hooks, authenticators and room policies that panicked.
    pub panics: u64,
    /// The number of authenticators and room policies that did not answer in time.
    pub overdue: u64,
    /// The number of messages from clients that were answered with an error, by its code, and of
    /// faults that ended a session without a connection.
    pub rejected: BTreeMap<String, u64>,
    /// The number of times that a handler, or the client by `subscribe` or `join`, had a connection
    /// enter a room in which it was not.
    pub rooms_entered: u64,
    /// The number of times that a handler, or the client, had a connection leave a room; the end of
    /// a connection does not count.
    pub rooms_left: u64,
    /// The number of connections rejected, and of refreshes that came by a request of their own, by
    /// reason.
    pub refused: BTreeMap<String, u64>,
    /// The number of connections closed, by the code of their [`crate::CloseReason`].
    pub closed: BTreeMap<u16, u64>,
    /// The number of cursors that clients presented, by what they led to: `resumed`, `expired`,
    /// `epoch` or `invalid`.
    pub resumes: BTreeMap<String, u64>,
    /// The number of records of the log that could not be read and were skipped.
    pub skipped_records: u64,
    /// The number of records in the window.
    pub window_records: u64,
    /// The bytes in the window.
    pub window_bytes: u64,
    /// The time since the window's oldest record was applied here, in milliseconds.
    pub window_ms: u64,
    /// The times that writes, handlers and heartbeats took; not serialized.
    #[serde(skip)]
    pub timings: Timings,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: AtomicU64,
    pub(crate) events_in: AtomicU64,
    pub(crate) events_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) dropped_closed: AtomicU64,
    pub(crate) overflows: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) stalled: AtomicU64,
    pub(crate) lingering: AtomicU64,
    pub(crate) lingering_hooks: Arc<AtomicU64>,
    pub(crate) unhandled: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) overdue: AtomicU64,
    pub(crate) skipped_records: AtomicU64,
    pub(crate) rooms_entered: AtomicU64,
    pub(crate) rooms_left: AtomicU64,
    pub(crate) timers: Timers,
    /// Shared with the meters.
    pub(crate) throttles: Arc<Throttles>,
    /// The cursors that were presented, in the order of [`RESUMES`].
    resumes: [AtomicU64; RESUMES.len()],
    /// A map under a lock: refusals are rare.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// A map of at most [`MAX_CODES`] different codes, because handlers choose them.
    rejected: Mutex<BTreeMap<String, u64>>,
    /// A map by code: the application's own codes are few.
    closed: Mutex<BTreeMap<u16, u64>>,
}

const MAX_CODES: usize = 64;
/// The reasons in `connected` that answer a cursor.
const RESUMES: [&str; 4] = ["epoch", "expired", "invalid", "resumed"];

pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

impl Counters {
    /// Counts what a presented cursor led to; a client without one is `new`, which is not counted.
    pub(crate) fn presented(&self, reason: &str) {
        let at = RESUMES.iter().position(|counted| *counted == reason);
        at.into_iter().for_each(|at| add(&self.resumes[at], 1));
    }

    pub(crate) fn refused(&self, kind: RefusalKind) {
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *refused.entry(kind.code()).or_default() += 1;
    }

    pub(crate) fn rejected(&self, code: &str) {
        let mut rejected = self.rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let code = if rejected.len() >= MAX_CODES && !rejected.contains_key(code) { "other" } else { code };
        *rejected.entry(code.to_owned()).or_default() += 1;
    }

    pub(crate) fn closed(&self, reason: &CloseReason) {
        if reason.is_rate_limited() {
            self.throttles.count_closed();
        }
        let code = reason.code();
        let mut closed = self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *closed.entry(code).or_default() += 1;
    }

    /// Returns the counters as [`Stats`]; the caller fills in the gauges.
    pub(crate) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rejected = self.rejected.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let throttled_kinds = self.throttles.kinds(By::Connection);
        let throttled_by_tenant_kinds = self.throttles.kinds(By::Tenant);
        Stats {
            connected: read(&self.connected),
            events_in: read(&self.events_in),
            events_out: read(&self.events_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            dropped: read(&self.dropped),
            dropped_closed: read(&self.dropped_closed),
            overflows: read(&self.overflows),
            lost: read(&self.lost),
            superseded: read(&self.superseded),
            stalled: read(&self.stalled),
            lingering: read(&self.lingering),
            lingering_hooks: read(&self.lingering_hooks),
            unhandled: read(&self.unhandled),
            throttled: throttled_kinds.values().sum(),
            throttled_by_tenant: throttled_by_tenant_kinds.values().sum(),
            throttled_kinds,
            throttled_by_tenant_kinds,
            throttled_now: self.throttles.held(),
            rate_limited: self.throttles.closed(),
            panics: read(&self.panics),
            overdue: read(&self.overdue),
            skipped_records: read(&self.skipped_records),
            rooms_entered: read(&self.rooms_entered),
            rooms_left: read(&self.rooms_left),
            resumes: RESUMES.iter().zip(&self.resumes).map(|(name, count)| ((*name).to_owned(), read(count))).collect(),
            timings: self.timers.read(),
            refused: refused.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            rejected: rejected.clone(),
            closed: self.closed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            ..Stats::default()
        }
    }
}
