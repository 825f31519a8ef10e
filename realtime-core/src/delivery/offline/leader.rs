//! The choice of the node that decides, by the checkpoints in the log and the nodes in
//! the directory.

use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::offline::work::Work;
use crate::delivery::offline::worker::Worker;
use crate::log::offline::checkpoint::Checkpoint;
use crate::log::offline::state::Newest;
use crate::values::error::Result;
use crate::values::node::NodeInfo;
use crate::values::position::Position;

/// The interval between questions for the nodes.
const NODES: Duration = Duration::from_secs(2);
/// The interval between messages to the other nodes.
const SHARE: Duration = Duration::from_secs(1);
/// The age of a message after which records wait for its node.
const FRESH: Duration = Duration::from_secs(4);
/// The age of a message after which another node decides in its node's place: that one does not
/// read the log, whatever its lease says. If it does, the log's order has it cease.
const SILENT: Duration = Duration::from_secs(12);
/// The time, in addition to the delay, for which a record waits for nodes that are silent or have
/// not read it yet.
const LATE: Duration = Duration::from_secs(18);

impl Worker {
    /// Looks at the clock, the other nodes, and whether this one has to decide.
    pub(super) async fn tick(&mut self) {
        let now = Instant::now();
        if self.offline.life() != self.life {
            self.begin_life();
        }
        if !self.log.is_up() {
            self.up_since = None;
            return;
        }
        self.up_since.get_or_insert(now);
        let applied = self.log.applied();
        self.seen.note(applied, now);
        self.look_for_nodes(now).await;
        self.share(now).await;
        self.due = self.due_at(applied, now);
        match self.find_leader(now).await {
            Ok(true) => drop(self.shared.begun.send_replace(true)),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "it is not known which node decides about offline users"),
        }
        self.save(now).await;
        self.count(now);
    }

    /// Begins anew, in a log with another epoch.
    fn begin_life(&mut self) {
        self.life = self.offline.life();
        self.seen.clear();
        self.has_searched = false;
        self.work = None;
        self.due = Position::START;
    }

    async fn look_for_nodes(&mut self, now: Instant) {
        if self.nodes.as_ref().is_some_and(|(_, at)| now.saturating_duration_since(*at) < NODES) {
            return;
        }
        match self.log.leased().await {
            Ok(nodes) => {
                self.offline.keep(&nodes);
                self.nodes = Some((nodes, now));
            }
            Err(error) => tracing::debug!(%error, "the nodes are not known"),
        }
    }

    /// Tells the other nodes which events the connections of this one got.
    async fn share(&mut self, now: Instant) {
        let own = self.log.node().id;
        let has_others = self.nodes.iter().any(|(nodes, _)| nodes.iter().any(|node| node.id != own));
        if !has_others || self.shared_at.is_some_and(|at| now.saturating_duration_since(at) < SHARE) {
            return;
        }
        self.shared_at = Some(now);
        if let Err(error) = self.log.share_taken().await {
            tracing::debug!(%error, "other nodes do not learn which events users got");
        }
    }

    /// Returns the last position that was applied here for the delay, and by every node that
    /// shares.
    fn due_at(&self, applied: Position, now: Instant) -> Position {
        let own = self.log.node().id;
        let others = self.nodes.iter().flat_map(|(nodes, _)| nodes);
        let others = others.filter(|node| node.offline_sink && node.id != own);
        let reached = others.map(|node| self.offline.reached(node.id, FRESH, now).unwrap_or(Position::START));
        let reached = reached.min().unwrap_or(applied);
        let late = self.seen.before(self.config.delay + LATE, now);
        self.seen.before(self.config.delay, now).min(reached.max(late))
    }

    /// Begins, goes on or ceases to decide, by the newest checkpoint: its node does, as long as it
    /// has a lease, and then the one with the lowest id. Returns whether there is one that does.
    async fn find_leader(&mut self, now: Instant) -> Result<bool> {
        if self.is_leader() {
            return Ok(true);
        }
        self.work = None;
        if self.offline.newest().is_none() && !std::mem::replace(&mut self.has_searched, true) {
            let found = self.log.find_checkpoint().await;
            self.has_searched = found.is_ok();
            found?;
        }
        let Some((nodes, _)) = &self.nodes else { return Ok(false) };
        let (own, newest) = (self.log.node().id, self.offline.newest());
        let is_held = |newest: &Newest| {
            !newest.checkpoint.released && nodes.iter().any(|node| node.id == newest.node && self.is_able(node, now))
        };
        let lowest = nodes.iter().filter(|node| self.is_able(node, now)).map(|node| node.id).min();
        let is_held = newest.as_ref().is_some_and(is_held);
        if is_held || lowest != Some(own) {
            return Ok(is_held);
        }
        let claim = newest.map_or_else(|| self.first_checkpoint(), |newest| newest.checkpoint);
        tracing::debug!(decided = %claim.decided, "this node decides about offline users");
        let claim = Checkpoint { term: claim.term + 1, words: Vec::new(), released: false, ..claim };
        self.log.append_checkpoint(self.life, claim).await?;
        // Another node may have been earlier.
        Ok(self.is_leader())
    }

    /// Returns whether a node can decide: it has a sink, and reads the log, as far as is heard.
    fn is_able(&self, node: &NodeInfo, now: Instant) -> bool {
        let has_listened = self.up_since.is_some_and(|since| now.saturating_duration_since(since) >= SILENT);
        let is_heard = || node.id == self.log.node().id || self.offline.reached(node.id, SILENT, now).is_some();
        node.offline_sink && (!has_listened || is_heard())
    }

    /// Returns whether the newest checkpoint is this node's, and begins to decide if it is.
    fn is_leader(&mut self) -> bool {
        let Some(Newest { node, checkpoint }) = self.offline.newest() else { return false };
        if node != self.log.node().id || checkpoint.released {
            return false;
        }
        if self.work.as_ref().is_none_or(|work| work.term != checkpoint.term) {
            self.work = Some(Work::new(&checkpoint));
        }
        true
    }

    /// Returns the place to begin at in a log without a checkpoint: what was sent before there was
    /// a sink is nobody's loss, but a log that began a new life has lost the checkpoint too.
    fn first_checkpoint(&self) -> Checkpoint {
        let decided = if self.life == 0 { self.log.began_at() } else { Position::START };
        Checkpoint { decided, ..Checkpoint::default() }
    }

    /// Writes a checkpoint, if there is something new.
    async fn save(&mut self, now: Instant) {
        let Some(work) = self.work.as_mut().filter(|work| work.is_unsaved(now)) else { return };
        let checkpoint = work.checkpoint();
        self.seen.trim(checkpoint.decided);
        let saved = self.log.append_checkpoint(self.life, checkpoint).await;
        if let Err(error) = &saved {
            tracing::warn!(%error, "could not write the offline checkpoint; sink calls are paused");
        }
        work.set_saved(now, saved.is_ok());
    }

    /// Lets another node, or the next process, go on.
    pub(super) async fn hand_over(&mut self) -> Result<()> {
        let _ = self.log.share_taken().await;
        let Some(work) = &self.work else { return Ok(()) };
        let words = self.log.known_places();
        self.log.append_checkpoint(self.life, Checkpoint { words, released: true, ..work.checkpoint() }).await
    }

    fn count(&self, now: Instant) {
        let lag = self.work.as_ref().map(|work| self.seen.age_after(work.cursor, now));
        let lag = lag.map(|age| age.saturating_sub(self.config.delay));
        self.offline.counters.set_works(lag.is_some(), lag.unwrap_or_default());
    }
}
