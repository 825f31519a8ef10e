//! A node's side of a directory: reports the node's connections to it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::log::directory::{Directory, DirectoryChange, Incarnation};
use crate::log::handle::Log;
use crate::log::presence::Presence;
use crate::values::connection::ConnectionId;
use crate::values::error::{Error, Result};

/// The duration for which a node's entries in the directory are valid without a renewal.
const LEASE: Duration = Duration::from_secs(10);
/// The interval between renewals of the lease.
const RENEWAL: Duration = Duration::from_secs(2);
/// The longest time that the directory may take for one update.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(2);

/// The changes that the directory has to receive.
#[derive(Default)]
struct Offers {
    /// The changes that were sent and may or may not have been applied: sent unchanged until the
    /// directory confirms them.
    offered: Vec<DirectoryChange>,
    /// Later changes, the newest of each connection; connections that were opened and closed
    /// meanwhile were never sent and are left out. So both are bounded by the connections there
    /// are, were at the last answer, or were when `offered` was filled.
    waiting: HashMap<ConnectionId, DirectoryChange>,
    /// The connections in `waiting` that were never sent.
    is_new: HashSet<ConnectionId>,
    /// The registration times of the connections that the directory has to know.
    registered_at: HashMap<ConnectionId, SystemTime>,
    /// The incarnation in the last answer.
    incarnation: Option<Incarnation>,
}

/// A change of this node's connections.
#[derive(Debug)]
pub(crate) enum Change {
    /// A registered connection.
    Opened(Presence),
    /// A change of the rooms that a connection entered.
    Rooms(ConnectionId),
    /// A closed connection.
    Closed(ConnectionId),
}

/// A node's side of a directory, the same for all providers of a service: sends each change of the
/// connections here, and all connections again when the directory has lost them. Cheap to clone.
///
/// The tracker runs while a provider is attached.
#[derive(Clone)]
pub struct Tracker(Arc<Shared>);

struct Shared {
    directory: Arc<dyn Directory>,
    state: Mutex<State>,
    changed: Notify,
    /// The number of changes that have been sent once, whatever the outcome; `None` before the
    /// first update.
    offered: watch::Sender<Option<u64>>,
    /// `true` if other nodes had a lease at the last update.
    has_others: AtomicBool,
    /// Locked by the task that updates the directory, one at a time; changes that one task did not
    /// get through are left to the next.
    offers: tokio::sync::Mutex<Offers>,
}

#[derive(Default)]
struct State {
    /// The changes that are not in [`Offers`] yet; bounded by the connections that are opened and
    /// closed within one update.
    changes: Vec<Change>,
    /// The connections whose rooms have changed since the last update: each once, however often a
    /// client enters and leaves rooms meanwhile.
    moved: HashSet<ConnectionId>,
    /// The number of changes so far.
    count: u64,
    /// The number of attached providers.
    providers: usize,
    /// Cancelled when the last of them is detached.
    stop: CancellationToken,
}

impl Tracker {
    /// Creates the tracker of this directory.
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self(Arc::new(Shared {
            directory,
            state: Mutex::default(),
            changed: Notify::new(),
            offered: watch::Sender::new(None),
            has_others: AtomicBool::new(false),
            offers: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.0.directory
    }

    /// Returns whether other nodes had a lease at the last update.
    pub(crate) fn has_other_nodes(&self) -> bool {
        self.0.has_others.load(Ordering::Acquire)
    }

    /// Starts to report the connections of a provider of this log, until the guard is dropped.
    pub(crate) fn join(&self, log: &Log) -> Tracked {
        let mut state = self.0.state();
        state.providers += 1;
        if state.providers == 1 {
            state.stop = CancellationToken::new();
            let updates = Updates { shared: Arc::clone(&self.0), log: log.clone(), stop: state.stop.clone() };
            tokio::spawn(updates.run());
        }
        Tracked(self.clone())
    }

    /// Reports a change of this node's connections.
    pub(crate) fn queue(&self, change: Change) {
        let mut state = self.0.state();
        match change {
            Change::Rooms(id) => drop(state.moved.insert(id)),
            change => state.changes.push(change),
        }
        state.count += 1;
        drop(state);
        self.0.changed.notify_one();
    }

    /// Waits until the lease has been renewed and the changes so far have been sent, whatever the
    /// outcome.
    pub(crate) async fn offered(&self) {
        let count = self.0.state().count;
        let mut offered = self.0.offered.subscribe();
        let _ = offered.wait_for(|offered| offered.is_some_and(|offered| offered >= count)).await;
    }
}

/// A guard of one provider whose connections are reported to a directory.
pub(crate) struct Tracked(Tracker);

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut state = self.0.0.state();
        state.providers -= 1;
        if state.providers == 0 {
            state.stop.cancel();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that updates the directory while providers are attached.
struct Updates {
    shared: Arc<Shared>,
    log: Log,
    stop: CancellationToken,
}

impl Updates {
    /// Sends the changes to the directory, and renews the node's lease; once more when it is
    /// stopped.
    async fn run(self) {
        let mut renew = interval_at(Instant::now() + RENEWAL, RENEWAL);
        let mut is_renewal = true;
        let mut offers = self.shared.offers.lock().await;
        loop {
            // Read before the changes are taken, so that changes before the stop are sent.
            let is_last = self.stop.is_cancelled();
            let (changes, moved, count) = {
                let mut state = self.shared.state();
                (std::mem::take(&mut state.changes), std::mem::take(&mut state.moved), state.count)
            };
            let changes = changes.into_iter().chain(moved.into_iter().map(Change::Rooms));
            changes.for_each(|change| self.queue(&mut offers, change));
            if let Err(error) = self.update(&mut offers).await {
                tracing::warn!(%error, "the directory could not be updated; retrying");
            }
            if is_renewal {
                self.look_for_others().await;
            }
            self.shared.offered.send_replace(Some(count));
            if is_last {
                return;
            }
            is_renewal = tokio::select! {
                // First, so that changes without end keep no renewal from its turn.
                biased;
                _ = renew.tick() => true,
                () = self.shared.changed.notified() => false,
                () = self.stop.cancelled() => false,
            };
        }
    }

    /// Notes whether there are other nodes; without an answer what was known stays.
    async fn look_for_others(&self) {
        if let Ok(Ok(nodes)) = timeout(UPDATE_TIMEOUT, self.shared.directory.nodes()).await {
            let has_others = nodes.iter().any(|node| node.id != self.log.node().id);
            self.shared.has_others.store(has_others, Ordering::Release);
        }
    }

    /// Adds a change to those that wait; the rooms of a connection are read now, so that they are
    /// those after the last change.
    fn queue(&self, offers: &mut Offers, change: Change) {
        match change {
            Change::Opened(presence) => offers.queue(DirectoryChange::Online(presence)),
            Change::Rooms(id) => {
                let current = self.log.feeds().iter().find_map(|feed| feed.presence(id));
                current.into_iter().for_each(|presence| offers.queue_again(presence));
            }
            Change::Closed(id) => offers.queue(DirectoryChange::Offline(id)),
        }
    }

    /// Sends all changes that the directory has not received, and renews the lease in any case. If
    /// the directory has a new incarnation of the node's entries, the earlier ones are lost: all
    /// connections are sent again.
    async fn update(&self, offers: &mut Offers) -> Result<()> {
        let mut is_retry = false;
        loop {
            let update = self.shared.directory.update(self.log.node(), offers.next(), LEASE);
            let incarnation = timeout(UPDATE_TIMEOUT, update)
                .await
                .unwrap_or_else(|_| Err(Error::Backplane("the directory did not answer in time".into())))?;
            if offers.acknowledge(incarnation) {
                tracing::warn!("the directory has lost this node's entries");
                for feed in self.log.feeds() {
                    feed.presences().into_iter().for_each(|presence| offers.offer_again(presence));
                }
                // A directory that loses them at each update receives them once per renewal.
                if std::mem::replace(&mut is_retry, true) {
                    return Ok(());
                }
            } else if offers.waiting.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Offers {
    /// Adds a change to those that wait.
    fn queue(&mut self, change: DirectoryChange) {
        match change {
            DirectoryChange::Online(presence) => {
                self.registered_at.insert(presence.connection, presence.since);
                self.is_new.insert(presence.connection);
                self.waiting.insert(presence.connection, DirectoryChange::Online(presence));
            }
            DirectoryChange::Offline(id) => {
                self.registered_at.remove(&id);
                if self.is_new.remove(&id) {
                    self.waiting.remove(&id);
                } else {
                    self.waiting.insert(id, DirectoryChange::Offline(id));
                }
            }
        }
    }

    /// Replaces the entry of a connection that is registered; one that is closed has its own change
    /// in the queue, or behind it.
    fn queue_again(&mut self, mut presence: Presence) {
        if let Some(since) = self.registered_at.get(&presence.connection) {
            presence.since = *since;
            self.waiting.insert(presence.connection, DirectoryChange::Online(presence));
        }
    }

    /// Returns the changes to send now.
    fn next(&mut self) -> &[DirectoryChange] {
        if self.offered.is_empty() {
            self.is_new.clear();
            self.offered.extend(self.waiting.drain().map(|(_, change)| change));
        }
        &self.offered
    }

    /// Marks the sent changes as applied; returns whether changes that were applied earlier have
    /// been lost.
    fn acknowledge(&mut self, incarnation: Incarnation) -> bool {
        self.offered.clear();
        self.incarnation.replace(incarnation).is_some_and(|previous| previous != incarnation)
    }

    /// Sends a connection again as before. A connection that is not known yet, or no longer, has
    /// its own change in the queue.
    fn offer_again(&mut self, mut presence: Presence) {
        if let Some(since) = self.registered_at.get(&presence.connection)
            && !self.waiting.contains_key(&presence.connection)
        {
            presence.since = *since;
            self.offered.push(DirectoryChange::Online(presence));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::values::node::NodeId;

    static NODE: LazyLock<NodeId> = LazyLock::new(NodeId::random);

    fn presence(connection: ConnectionId) -> Presence {
        Presence::new(*NODE, connection, "p", SystemTime::UNIX_EPOCH)
    }

    fn online(id: ConnectionId) -> DirectoryChange {
        DirectoryChange::Online(presence(id))
    }

    #[test]
    fn closed_connections_leave_nothing_behind() {
        let (offered, short) = (ConnectionId::random(), ConnectionId::random());
        let mut offers = Offers::default();
        offers.queue(online(offered));
        assert_eq!(offers.next(), [online(offered)]);
        offers.queue(online(short));
        offers.queue(DirectoryChange::Offline(short));
        offers.queue(DirectoryChange::Offline(offered));
        assert_eq!(offers.next(), [online(offered)], "it may have been applied");
        assert!(!offers.acknowledge(Incarnation::new(1)));
        assert_eq!(offers.next(), [DirectoryChange::Offline(offered)]);
        assert!(!offers.acknowledge(Incarnation::new(1)));
        assert!(offers.next().is_empty() && offers.waiting.is_empty() && offers.registered_at.is_empty());
    }

    #[test]
    fn only_connections_without_a_pending_change_are_offered_again() {
        let [open, new, closed] = std::array::from_fn(|_| ConnectionId::random());
        let mut offers = Offers::default();
        [open, closed].into_iter().for_each(|id| offers.queue(online(id)));
        offers.next();
        offers.queue(online(new));
        offers.queue(DirectoryChange::Offline(closed));
        offers.acknowledge(Incarnation::new(1));
        [open, new, closed].into_iter().for_each(|id| offers.offer_again(presence(id)));
        assert_eq!(offers.next(), [online(open)]);
    }
}
