//! The counters of a node's sends, and what it knows of the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::log::backplane::LogState;
use crate::log::record::Body;
use crate::values::ack_counters::AckCounters;
use crate::values::error::{Error, Result};
use crate::values::histogram::Histogram;
use crate::values::log_size::LogSize;
use crate::values::receipt::Receipt;
use crate::values::stamp::Stamp;
use crate::values::target::{Scope, Target};

/// The counters behind [`LogStats`](crate::values::log_stats::LogStats).
#[derive(Debug, Default)]
pub(super) struct LogCounters {
    published: [AtomicU64; KINDS.len()],
    appends: [AtomicU64; OUTCOMES.len()],
    pub(super) append_times: Histogram,
    pub(super) acks: Arc<AckCounters>,
    /// The newest position of the log that is known.
    end: AtomicU64,
    size: Mutex<Option<LogSize>>,
}

/// The kinds of targets, in the order of [`kind`].
const KINDS: [&str; 5] = ["all", "connection", "room", "tenant", "user"];
/// The outcomes of an append, in the order of [`outcome`].
const OUTCOMES: [&str; 5] = ["key_reused", "ok", "refused", "repeated", "unknown"];

impl LogCounters {
    /// Counts the outcome of an append; `sent` is the kind of its target, if the record is an event
    /// or an ask.
    pub(super) fn appended(&self, sent: Option<usize>, begun: Stamp, result: &Result<Receipt>) {
        self.appends[outcome(result)].fetch_add(1, Ordering::Relaxed);
        if let (Some(kind), Ok(receipt)) = (sent, result)
            && !receipt.repeated()
        {
            self.published(kind);
        }
        begun.elapsed().into_iter().for_each(|time| self.append_times.record(time));
    }

    /// Counts an event for a target of this kind.
    pub(super) fn published(&self, kind: usize) {
        self.published[kind].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts of what was sent, by the kind of the target.
    pub(super) fn read_published(&self) -> BTreeMap<&'static str, u64> {
        named(&KINDS, &self.published)
    }

    /// Returns the counts of appends, by outcome.
    pub(super) fn read_appends(&self) -> BTreeMap<&'static str, u64> {
        named(&OUTCOMES, &self.appends)
    }

    /// Notes how far the log reaches.
    pub(super) fn note_state(&self, state: &LogState) {
        self.end.store(state.last.get(), Ordering::Relaxed);
    }

    /// Returns the newest position of the log that is known.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Notes what the log holds.
    pub(super) fn note_size(&self, size: Option<LogSize>) {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
    }

    /// Returns what the log held when it was last asked.
    pub(super) fn size(&self) -> Option<LogSize> {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number in [`KINDS`] of what a record sends, if it is an event or an ask.
pub(super) fn kind_of(body: &Body) -> Option<usize> {
    match body {
        Body::Ask { target, .. } | Body::Event { target, .. } => Some(kind(target)),
        _ => None,
    }
}

/// Returns the number in [`KINDS`] of a target.
pub(super) fn kind(target: &Target) -> usize {
    match target.scope() {
        Scope::All => 0,
        Scope::Connection(_) => 1,
        Scope::Room { .. } => 2,
        Scope::Tenant(_) => 3,
        Scope::User { .. } => 4,
    }
}

/// Returns the name of a target's kind.
pub(super) fn kind_name(target: &Target) -> &'static str {
    KINDS[kind(target)]
}

fn outcome(result: &Result<Receipt>) -> usize {
    match result {
        Err(Error::KeyReused { .. }) => 0,
        Ok(receipt) if receipt.repeated() => 3,
        Ok(_) => 1,
        Err(Error::OutcomeUnknown { .. }) => 4,
        Err(_) => 2,
    }
}

fn named(names: &[&'static str], counters: &[AtomicU64]) -> BTreeMap<&'static str, u64> {
    names.iter().copied().zip(counters.iter().map(|counter| counter.load(Ordering::Relaxed))).collect()
}
