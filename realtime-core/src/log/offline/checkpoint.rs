//! The records that nodes exchange about the events that users got.

use serde::{Deserialize, Serialize};

use crate::values::cursor::Epoch;
use crate::values::position::Position;

/// The progress of the decisions about users' events, as the deciding node writes it into the log:
/// another node, or the next process, goes on from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The number of the deciding node's term. A node takes over by the first record of a new term;
    /// those that others write for the same term count for nothing.
    pub(crate) term: u64,
    /// Every record up to this position is decided, and its call has an outcome, except `open`.
    pub(crate) decided: Position,
    /// The positions up to there whose call is under way, or whose answer is awaited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) open: Vec<Position>,
    /// The state of later records, as far as it is known, so that a restart in order
    /// forgets nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) words: Vec<Word>,
    /// Set by a node that ends, for another one to take over immediately.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) released: bool,
}

impl Checkpoint {
    /// Returns the approximate size of its lists, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(&*self.open) + size_of_val(&*self.words)
    }
}

/// Which events the connections of a node got, as far as it is undecided what becomes of them. Each
/// message has all of it, so that one that is lost does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) epoch: Epoch,
    /// The last record that the node has applied.
    pub(crate) reached: Position,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) words: Vec<Word>,
    /// The same for the positions that the newest checkpoint names as open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) open: Vec<(Position, Flags)>,
}

/// The known state of 64 positions: the number of the first one divided by 64, and a bit of
/// [`Flags::settled`] and of [`Flags::matched`] for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word(pub(crate) u64, pub(crate) u64, pub(crate) u64);

/// The known state of one record for a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flags {
    /// A connection got the event, or answered the ask: nothing is to be done.
    pub(crate) settled: bool,
    /// A connection got the ask.
    pub(crate) matched: bool,
}
