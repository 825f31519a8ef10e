//! Counts of connections that were held back because they, or their tenant, sent too much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::values::counted::Counted;

/// The kinds of what a client sends, by which holds for its rate are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MeteredKind {
    /// A control frame that was not asked for: a ping, or a pong without a ping.
    Control,
    /// An event, an answer, what was rejected as one, and whatever else a transport counts as a
    /// message.
    Event,
    /// A small fragment of a WebSocket message (RFC 6455 §5.4).
    Fragment,
}

impl MeteredKind {
    /// All kinds, in the order of their numbers.
    const ALL: [Self; 3] = [Self::Control, Self::Event, Self::Fragment];

    /// Returns the kind's name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Event => "event",
            Self::Fragment => "fragment",
        }
    }
}

/// The counts of one provider.
#[derive(Debug, Default)]
pub(crate) struct Throttles {
    /// The times that a connection was held back, by its own rate and by its tenant's.
    by_connection: Kinds,
    by_tenant: Kinds,
    /// The connections that are held back now.
    held: Arc<AtomicU64>,
    /// The connections that were closed because their patience had ended.
    closed: AtomicU64,
}

/// Counts by kind of what was read last.
type Kinds = [AtomicU64; MeteredKind::ALL.len()];

/// Whose rate holds a connection back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Connection,
    Tenant,
}

impl Throttles {
    pub(crate) fn count(&self, by: By, kind: MeteredKind) {
        self.of(by)[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is held back now.
    pub(crate) fn hold(&self) -> Counted {
        Counted::new(&self.held)
    }

    /// Returns how often connections were held back, by the kind of what was read last.
    pub(crate) fn kinds(&self, by: By) -> BTreeMap<String, u64> {
        let counts = self.of(by).iter().map(|count| count.load(Ordering::Relaxed));
        MeteredKind::ALL.into_iter().map(|kind| kind.name().to_owned()).zip(counts).collect()
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    fn of(&self, by: By) -> &Kinds {
        match by {
            By::Connection => &self.by_connection,
            By::Tenant => &self.by_tenant,
        }
    }
}
