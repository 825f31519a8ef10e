//! The history of a run: the events that were sent, and everything that a client saw.

use std::sync::Mutex;
use std::time::Duration;

use realtime_bench::lock;
use realtime_unified::spi::Cursor;
use tokio::time::Instant;

use crate::population::Audience;

/// All that was sent, by number.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<Sent>>);

/// One event, and what its sender knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The sender, of which one event follows the other.
    pub lane: usize,
    /// The receivers.
    pub audience: Audience,
    /// The beginning of the first attempt.
    pub begun: Instant,
    /// The end of the last attempt.
    pub ended: Instant,
    /// The outcome.
    pub outcome: Outcome,
    /// `true` if it was sent again with its idempotency key.
    pub retried: bool,
}

/// The outcome of an event, as far as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An event in the log, at this position if the receipt has one.
    Ok(Option<u64>),
    /// An event that is certainly not in the log.
    Refused,
    /// An event that may be in the log.
    Unknown,
}

/// A position in one life of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The life.
    pub epoch: u64,
    /// The position.
    pub position: u64,
}

/// One thing that a client saw.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The end of a connection: how, and the delay that the server sent, if it did.
    End {
        /// When.
        at: Instant,
        /// The error with which it ended.
        how: String,
        /// The delay that the server sent.
        delay: Option<Duration>,
    },
    /// An event of this number.
    Event {
        /// When.
        at: Instant,
        /// The number.
        number: usize,
        /// The place in its cursor.
        place: Place,
    },
    /// A failed attempt to connect.
    Failed {
        /// When.
        at: Instant,
        /// Why.
        how: String,
    },
    /// The event `lost`.
    Lost,
    /// The event `connected`.
    Welcome {
        /// When.
        at: Instant,
        /// `true` if the client was resumed.
        resumed: bool,
        /// `true` if the reason is `epoch`.
        anew: bool,
        /// The place where the connection begins.
        place: Place,
        /// The place of the cursor that the client presented.
        presented: Option<Place>,
    },
}

impl Ledger {
    /// Adds an event that is about to be sent, and returns its number.
    pub fn begin(&self, lane: usize, audience: Audience) -> usize {
        let now = Instant::now();
        let mut sent = lock(&self.0);
        sent.push(Sent { lane, audience, begun: now, ended: now, outcome: Outcome::Unknown, retried: false });
        sent.len() - 1
    }

    /// Notes what the sender knows now.
    pub fn note(&self, number: usize, outcome: Outcome, retried: bool) {
        let mut sent = lock(&self.0);
        let sent = &mut sent[number];
        (sent.outcome, sent.retried, sent.ended) = (outcome, retried, Instant::now());
    }

    /// Returns all of it so far.
    #[must_use]
    pub fn all(&self) -> Vec<Sent> {
        lock(&self.0).clone()
    }
}

impl Place {
    /// Reads the place of a cursor; the default if it is none.
    #[must_use]
    pub fn of(cursor: &str) -> Self {
        let cursor = cursor.parse::<Cursor>();
        cursor.map_or(Self::default(), |cursor| Self { epoch: cursor.epoch().get(), position: cursor.position().get() })
    }
}
