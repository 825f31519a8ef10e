//! Which events reached the users that they were sent to, as far as nodes have to know it together
//! to find those who were offline: from the records that a node applies, and from what the others
//! tell.

pub(crate) mod checkpoint;
pub(crate) mod counters;
pub(crate) mod places;
pub(crate) mod seen;
pub(crate) mod state;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::log::backplane::{Entry, LogState};
use crate::log::handle::Log;
use crate::log::offline::checkpoint::{Checkpoint, Taken, Word};
use crate::log::offline::state::Offline;
use crate::log::presence::Presence;
use crate::log::record::{Body, Providers, Record};
use crate::log::shared::Shared;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::node::{NodeId, NodeInfo};
use crate::values::position::Position;

/// The longest time that the log may take to return a page.
const ANSWER: Duration = Duration::from_secs(2);
/// The records of a page in which the newest checkpoint is looked for.
const PAGE: usize = 256;

impl Log {
    /// Begins to note which users get their events; called before the log is read.
    pub(crate) fn watch_offline(&self) -> Arc<Offline> {
        Arc::clone(self.0.offline.get_or_init(Arc::default))
    }

    /// Returns what this node knows of users' events, if it has an offline sink.
    pub(crate) fn offline(&self) -> Option<&Arc<Offline>> {
        self.0.offline.get()
    }

    /// Returns whether the log is read and can be written.
    pub(crate) fn is_up(&self) -> bool {
        let feeds = self.feeds();
        self.is_writable() && !feeds.is_empty() && feeds.iter().all(|feed| feed.is_ready())
    }

    /// Returns the position of the last record that was applied here.
    pub(crate) fn applied(&self) -> Position {
        self.0.lock_applied().tip.position
    }

    /// Returns the end of the log when this node began to read it.
    pub(crate) fn began_at(&self) -> Position {
        Position::new(self.0.first_read.load(Ordering::Acquire))
    }

    /// Returns the nodes that have a lease.
    pub(crate) async fn leased(&self) -> Result<Vec<NodeInfo>> {
        self.0.nodes().await
    }

    /// Returns up to `most` records after a position, as soon as the log answers, within 2 s.
    pub(crate) async fn page(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        in_time(self.backplane().range(after, most)).await
    }

    /// Returns the log's state, within 2 s.
    pub(crate) async fn state_in_time(&self) -> Result<LogState> {
        in_time(self.backplane().state()).await
    }

    /// Returns a user's connections in the directory, within 2 s.
    pub(crate) async fn online_connections(&self, user: &str) -> Result<Vec<Presence>> {
        in_time(self.directory().of_user(user)).await
    }

    /// Appends a checkpoint of this life of the log, which no provider is for.
    pub(crate) async fn append_checkpoint(&self, life: u64, checkpoint: Checkpoint) -> Result<()> {
        // In this order: a new life begins before its epoch is known here.
        let epoch = self.0.epoch();
        if self.offline().is_none_or(|offline| offline.life() != life) {
            return Err(Error::Backplane("the log has a new epoch".into()));
        }
        let body = Body::Decided(checkpoint);
        let record = Record::new(EventId::random(), self.node().id, Providers::named([]), body);
        self.append_in(epoch, None, record, None).await.map(drop)
    }

    /// Tells the other nodes what this one knows.
    pub(crate) async fn share_taken(&self) -> Result<()> {
        let (Some(offline), Some(epoch)) = (self.offline(), self.epoch()) else { return Ok(()) };
        let reached = self.applied();
        let (words, open) = offline.to_share();
        let body = Body::Taken(Taken { epoch, reached, words, open });
        in_time(self.publish(Providers::named([]), EventId::random(), body)).await
    }

    /// Returns what this node knows of undecided records, for its last checkpoint.
    pub(crate) fn known_places(&self) -> Vec<Word> {
        self.offline().map(|offline| offline.to_share().0).unwrap_or_default()
    }

    /// Looks for the newest checkpoint among the records that were not applied here, the newest
    /// first.
    pub(crate) async fn find_checkpoint(&self) -> Result<()> {
        let Some(offline) = self.offline() else { return Ok(()) };
        let life = offline.life();
        let start = self.state_in_time().await?.start;
        let mut until = offline.known_from();
        while until > start && offline.newest().is_none() {
            let after = start.max(Position::new(until.get().saturating_sub(PAGE as u64)));
            for entry in self.page(after, PAGE).await?.iter().filter(|entry| entry.position <= until) {
                if let Ok(record) = entry.record.decode()
                    && let Body::Decided(checkpoint) = &record.body
                {
                    offline.accept(life, record.node, checkpoint);
                }
            }
            until = after;
        }
        Ok(())
    }
}

impl Shared {
    /// Adds what another node tells, if it is about this life of the log.
    pub(super) fn note_taken(&self, node: NodeId, taken: &Taken) {
        if let Some(offline) = self.offline.get()
            && taken.epoch == self.epoch()
        {
            offline.merge(node, taken, Instant::now());
        }
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(Error::Backplane("the log did not answer in time".into())))
}
