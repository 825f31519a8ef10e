//! The connections and requests that a listener ended by itself, counted by the reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The reasons for which a listener ends a connection, or the request that it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    BodyTimeout,
    ConnectionLimit,
    HeaderTimeout,
    IdleLimit,
    NoRequest,
    PendingLimit,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there are no handshakes without TLS"))]
    TlsLimit,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there are no handshakes without TLS"))]
    TlsTimeout,
    WriteStall,
}

/// The reasons by name, in the order of [`Ended`].
const NAMES: [&str; 9] = [
    "body_timeout",
    "connection_limit",
    "header_timeout",
    "idle_limit",
    "no_request",
    "pending_limit",
    "tls_limit",
    "tls_timeout",
    "write_stall",
];

/// The number of ends for each reason.
#[derive(Default)]
pub(crate) struct EndCounters([AtomicU64; NAMES.len()]);

impl EndCounters {
    pub(crate) fn count(&self, reason: Ended) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn of(&self, reason: Ended) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    /// Returns the number for each reason, by its name.
    pub(crate) fn read(&self) -> BTreeMap<&'static str, u64> {
        NAMES.iter().zip(&self.0).map(|(name, count)| (*name, count.load(Relaxed))).collect()
    }
}

/// The connections of a listener.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStats {
    /// The current number of connections, upgraded ones included.
    pub open: u64,
    /// The current number of those that have sent no whole request yet; 0 without
    /// [`serve`](crate::serve()).
    pub pending: u64,
    /// The current number of HTTP/2 connections between two requests; 0 without
    /// [`serve`](crate::serve()).
    pub idle: u64,
    /// The number of connections that were accepted later than they came, because of
    /// [`WireConfig::with_accepts_per_second`](crate::WireConfig::with_accepts_per_second).
    pub delayed: u64,
    /// The number of connections that the listener ended, and of request bodies that it did not
    /// wait for, by reason: `body_timeout`, `connection_limit`, `header_timeout`, `idle_limit`,
    /// `no_request` (nothing was sent within the time for headers), `pending_limit`, `tls_limit`,
    /// `tls_timeout`, `write_stall`. Each is there from the start.
    pub ended: BTreeMap<&'static str, u64>,
}

impl Default for ListenerStats {
    /// Creates the statistics of a listener that has accepted nothing.
    fn default() -> Self {
        Self { open: 0, pending: 0, idle: 0, delayed: 0, ended: EndCounters::default().read() }
    }
}
