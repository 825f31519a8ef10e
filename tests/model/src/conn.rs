//! What the reference knows of one connection.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::log::{Place, Viewer};
use crate::pipe::Looker;
use crate::schedule::Id;

/// Where the server was at some moment, at the latest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The life of the log, by number.
    pub(crate) life: usize,
    /// The last record that had been applied.
    pub(crate) end: Place,
    /// The place before the oldest record of the window, that of the provider which serves the connection.
    pub(crate) start: Place,
}

/// One connection, from the request on; its number in the list is its serial number.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) viewer: Viewer,
    /// The place it presented, whatever it was.
    pub(crate) presented: Option<String>,
    /// The rooms it named.
    pub(crate) named: Vec<Id>,
    /// When it asked, which is exact.
    pub(crate) asked: Moment,
    /// The authenticator does not let it in before.
    pub(crate) admitted: Instant,
    /// In which life of the log it was registered, once that is known.
    pub(crate) life: Option<usize>,
    /// That life is over, as far as is known, so it is to be sent back.
    pub(crate) sent_back: bool,
    /// When it was known to be registered.
    pub(crate) came: Option<Moment>,
    /// When that was.
    pub(crate) came_at: Option<Instant>,
    /// The server has told that it is gone.
    pub(crate) went: Option<Instant>,
    pub(crate) connected: bool,
    pub(crate) resumed: bool,
    /// Everything for it up to here has been received, or has been told to be lost.
    pub(crate) place: Place,
    /// When it was last seen to have received everything, the log's end.
    pub(crate) settled: Option<Place>,
    /// It has read all the time and was not cut, so the server has no reason to end it.
    pub(crate) calm: bool,
    /// Its client does not read it any more.
    pub(crate) over: bool,
    pub(crate) request: Option<RoomRequest>,
    /// The asks it has received.
    pub(crate) asks: BTreeMap<u64, Asked>,
    /// Events that were passed over for newer ones of their series, which are still to come.
    pub(crate) owed: Vec<Owed>,
    pub(crate) volatile: BTreeSet<u64>,
    /// Looks on at its wire.
    pub(crate) looker: Option<Looker>,
}

/// Into or out of a room; one at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomRequest {
    pub(crate) ack: u64,
    pub(crate) room: Id,
    pub(crate) enter: bool,
}

/// An event that was passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) place: Place,
    /// Where the log ended when that was seen: a newer one must come before anything that was sent since.
    pub(crate) until: Place,
}

/// What became of an ask here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// When the answer was written.
    pub(crate) answered: Option<Instant>,
    /// When it was known to have reached the server.
    pub(crate) arrived: Option<Instant>,
}

impl Conn {
    /// Whether it has, or may have, ended within this large event after a byte of it was written.
    pub(crate) fn ended_within(&self, number: u64) -> bool {
        let amid = self.looker.as_ref().and_then(Looker::amid);
        (self.over || self.went.is_some()) && amid.is_some_and(|amid| amid.number.is_none_or(|known| known == number))
    }

    /// Whether the server may have it in its hub.
    pub(crate) fn may_be_there(&self) -> bool {
        self.went.is_none()
    }

    /// Whether the server has it in its hub, for what is sent now.
    pub(crate) fn is_there(&self) -> bool {
        self.came.is_some() && self.went.is_none() && !self.over && !self.may_end()
    }

    /// Whether the server may have a reason to end it.
    pub(crate) fn may_end(&self) -> bool {
        !self.calm || self.sent_back
    }
}
