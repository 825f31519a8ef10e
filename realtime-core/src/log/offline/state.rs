use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::log::offline::checkpoint::{Checkpoint, Flags, Taken, Word};
use crate::log::offline::counters::Counters;
use crate::log::offline::places::{Next, Places};
use crate::log::record::{Body, Record};
use crate::values::node::{NodeId, NodeInfo};
use crate::values::position::Position;
use crate::values::target::{Scope, Target};

/// The most nodes of which is kept how far they have read.
const NODES: usize = 1_000;

/// The events for users, as far as a node with an offline sink knows of them.
#[derive(Debug, Default)]
pub(crate) struct Offline {
    /// Locked for a few steps only, by the applying task among others.
    state: Mutex<State>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    places: Places,
    newest: Option<Newest>,
    /// The position up to which each other node has read, and the time of that report.
    reached: HashMap<NodeId, (Position, Instant)>,
    /// The number of times that the log began a new life here.
    lives: u64,
}

/// The newest checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    /// The node that decides.
    pub(crate) node: NodeId,
    pub(crate) checkpoint: Checkpoint,
}

impl Offline {
    /// Notes a record that this node has applied, which so many of its connections matched.
    pub(crate) fn applied(&self, position: Position, record: &Record, matched: usize) {
        let target = match &record.body {
            Body::Ask { target, .. } | Body::Event { target, .. } => Some(target),
            _ => None,
        };
        let mut state = self.state();
        state.places.applied(position, target.is_some_and(is_for_user));
        match &record.body {
            Body::Ask { target, .. } if is_for_user(target) && matched > 0 => state.places.set_matched(position),
            Body::Event { target, .. } if is_for_user(target) && matched > 0 => state.places.settle(position),
            Body::Decided(checkpoint) => state.accept(record.node, checkpoint),
            _ => {}
        }
    }

    /// Notes that a connection of this node gets events as a replay, or has answered an ask, in
    /// this life of the log.
    pub(crate) fn settle(&self, life: u64, positions: impl IntoIterator<Item = Position>) {
        let mut state = self.state();
        if state.lives == life {
            positions.into_iter().for_each(|position| state.places.settle(position));
        }
    }

    /// Adds what another node knows.
    pub(crate) fn merge(&self, node: NodeId, taken: &Taken, now: Instant) {
        let mut state = self.state();
        state.places.merge(&taken.words, &taken.open);
        if state.reached.len() < NODES || state.reached.contains_key(&node) {
            state.reached.insert(node, (taken.reached, now));
        }
    }

    /// Returns how far another node had read when it last said so, if that is not longer ago.
    pub(crate) fn reached(&self, node: NodeId, age: Duration, now: Instant) -> Option<Position> {
        let (reached, at) = *self.state().reached.get(&node)?;
        (now.saturating_duration_since(at) <= age).then_some(reached)
    }

    /// Forgets the nodes that are not among these.
    pub(crate) fn keep(&self, nodes: &[NodeInfo]) {
        self.state().reached.retain(|known, _| nodes.iter().any(|node| node.id == *known));
    }

    /// Returns what is known of a position.
    pub(crate) fn flags(&self, position: Position) -> Flags {
        self.state().places.flags(position)
    }

    /// Returns the first record after a position that may have to be decided.
    pub(crate) fn next(&self, after: Position, until: Position) -> Next {
        self.state().places.next(after, until)
    }

    /// Returns how many records after a position may have to be decided.
    pub(crate) fn undecided(&self, after: Position, until: Position) -> u64 {
        self.state().places.undecided(after, until)
    }

    /// Returns the newest checkpoint.
    pub(crate) fn newest(&self) -> Option<Newest> {
        self.state().newest.clone()
    }

    /// Returns the number of the log's life here; positions of another one mean nothing.
    pub(crate) fn life(&self) -> u64 {
        self.state().lives
    }

    /// Begins anew, in a log with another epoch.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        let lives = state.lives + 1;
        *state = State { lives, ..State::default() };
    }

    /// Takes over what a checkpoint says that was found in this life of the log.
    pub(super) fn accept(&self, life: u64, node: NodeId, checkpoint: &Checkpoint) {
        let mut state = self.state();
        if state.lives == life {
            state.accept(node, checkpoint);
        }
    }

    /// Returns what this node knows, to be sent to others.
    pub(super) fn to_share(&self) -> (Vec<Word>, Vec<(Position, Flags)>) {
        self.state().places.to_share()
    }

    /// Returns the last position of which this node does not know whether it is for a user.
    pub(super) fn known_from(&self) -> Position {
        self.state().places.known_from()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Accepts a checkpoint of the node that decides, or of one that takes over from it: all nodes
    /// read the log in one order, and so agree on who does.
    fn accept(&mut self, node: NodeId, checkpoint: &Checkpoint) {
        let is_next = |newest: &Newest| {
            let term = newest.checkpoint.term;
            checkpoint.term > term || (checkpoint.term == term && newest.node == node)
        };
        if self.newest.as_ref().is_none_or(is_next) {
            self.places.trim(checkpoint.decided, &checkpoint.open);
            self.places.merge(&checkpoint.words, &[]);
            self.newest = Some(Newest { node, checkpoint: checkpoint.clone() });
        }
    }
}

/// Returns whether a target is one user.
fn is_for_user(target: &Target) -> bool {
    matches!(target.scope(), Scope::User { .. })
}
