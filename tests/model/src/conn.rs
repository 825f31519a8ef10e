//! The reference's knowledge of one connection.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::log::{Position, Viewer};
use crate::pipe::FrameProbe;
use crate::schedule::Id;

/// The state of the server at some moment, at the latest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The number of the log's life.
    pub(crate) life: usize,
    /// The last position that had been applied.
    pub(crate) end: Position,
    /// The position before the oldest record of the window, that of the connection's provider.
    pub(crate) start: Position,
}

/// One connection, from its request on; its number in the list is its serial number.
#[derive(Debug, Default)]
pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) viewer: Viewer,
    /// The cursor that it presented, valid or not.
    pub(crate) presented: Option<String>,
    /// The rooms that it named.
    pub(crate) named: Vec<Id>,
    /// The moment of its request, which is exact.
    pub(crate) requested: Moment,
    /// The time before which the authenticator does not accept it, once it has asked.
    pub(crate) admitted: Option<Instant>,
    /// The life of the log in which it was registered, once that is known.
    pub(crate) life: Option<usize>,
    /// Set when that life is over, as far as is known, so that the server has to close it.
    pub(crate) outdated: bool,
    /// The moment at which it was known to be registered.
    pub(crate) registered: Option<Moment>,
    /// The time of that moment.
    pub(crate) registered_at: Option<Instant>,
    /// The time at which the server reported it gone.
    pub(crate) unregistered_at: Option<Instant>,
    /// Set by `connected`.
    pub(crate) connected: bool,
    pub(crate) resumed: bool,
    /// The position up to which everything for it has been received or reported lost.
    pub(crate) position: Position,
    /// The log's end when it was last seen to have received everything.
    pub(crate) settled: Option<Position>,
    /// `true` while it has always read and nothing has broken it, so that the server has no reason
    /// to close it.
    pub(crate) undisturbed: bool,
    /// Set when its client does not read it any more.
    pub(crate) abandoned: bool,
    pub(crate) request: Option<RoomRequest>,
    /// The asks that it has received.
    pub(crate) asks: BTreeMap<u64, Asked>,
    /// Skipped events whose successors in the same series are still to come.
    pub(crate) owed: Vec<Owed>,
    pub(crate) volatile: BTreeSet<u64>,
    pub(crate) probe: Option<FrameProbe>,
}

/// A request to enter or exit a room; one at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomRequest {
    pub(crate) ack: u64,
    pub(crate) room: Id,
    pub(crate) enter: bool,
}

/// An event that was skipped because a newer one of its series follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) position: Position,
    /// The log's end when that was seen: a newer event must come before anything that was sent
    /// since.
    pub(crate) until: Position,
}

/// The state of an ask on one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// The time at which the answer was written.
    pub(crate) answered: Option<Instant>,
    /// The time at which it was known to have reached the server.
    pub(crate) arrived: Option<Instant>,
}

impl Conn {
    /// Returns whether it has, or may have, ended within this large event after a byte of it was
    /// written.
    pub(crate) fn ended_within(&self, number: u64) -> bool {
        let partial = self.probe.as_ref().and_then(FrameProbe::partial_frame);
        let is_gone = self.abandoned || self.unregistered_at.is_some();
        is_gone && partial.is_some_and(|partial| partial.number.is_none_or(|known| known == number))
    }

    /// Returns whether the server may have it in its hub.
    pub(crate) fn may_be_registered(&self) -> bool {
        self.unregistered_at.is_none()
    }

    /// Returns whether the server has it in its hub, for what is sent now.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some() && self.unregistered_at.is_none() && !self.abandoned && !self.may_end()
    }

    /// Returns whether the server may have a reason to close it.
    pub(crate) fn may_end(&self) -> bool {
        !self.undisturbed || self.outdated
    }
}
