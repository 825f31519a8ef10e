//! A node's side of a directory: who tells it which connections are here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::log::directory::{Directory, DirectoryChange, Incarnation, NodeId, Presence};
use crate::log::handle::Log;
use crate::values::connection::ConnectionId;
use crate::values::error::{Error, Result};

/// How long a node's entries in the directory hold without a renewal.
const LEASE: Duration = Duration::from_secs(30);
/// How long the directory may take for one update.
const ANSWER: Duration = Duration::from_secs(2);

/// What the directory is to be told.
#[derive(Default)]
struct Offers {
    /// What was offered and may or may not have been taken: offered as it is until the directory says that it was.
    offered: Vec<DirectoryChange>,
    /// What came after it, the newest of each connection; who came and went meanwhile was never offered and is left
    /// out. So both are bounded by the connections there are, were at the last answer, or were when `offered` was made.
    waiting: HashMap<ConnectionId, DirectoryChange>,
    /// Since when the connections are here that the directory is to know.
    since: HashMap<ConnectionId, SystemTime>,
    /// What the last answer said.
    incarnation: Option<Incarnation>,
}

/// A node's side of a directory, the same for all providers of a service: tells it who is online here, each change, and all of
/// it again when the directory has lost it. Cheap to clone.
///
/// It runs while a provider is attached to it.
#[derive(Clone)]
pub struct Tracker(Arc<Shared>);

struct Shared {
    directory: Arc<dyn Directory>,
    state: Mutex<State>,
    changed: Notify,
    /// How many of the changes have been offered once, whatever came of it.
    offered: watch::Sender<u64>,
    /// Locked by who tells the directory, one after the other; what was not taken at the end of one is the next one's.
    offers: tokio::sync::Mutex<Offers>,
}

#[derive(Default)]
struct State {
    /// What has not been looked at yet; bounded by the connections that come and go within one update.
    changes: Vec<DirectoryChange>,
    /// How many changes there have been.
    count: u64,
    /// The providers that are attached.
    providers: usize,
    /// Cancelled when the last of them has left.
    stop: CancellationToken,
}

impl Tracker {
    /// The tracker that tells this directory.
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self(Arc::new(Shared {
            directory,
            state: Mutex::default(),
            changed: Notify::new(),
            offered: watch::Sender::new(0),
            offers: tokio::sync::Mutex::default(),
        }))
    }

    /// What it tells.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.0.directory
    }

    /// Begins to tell who is online with a provider of this log, on this node, until that is dropped.
    pub(crate) fn join(&self, node: NodeId, log: &Log) -> Tracked {
        let mut state = self.0.state();
        state.providers += 1;
        if state.providers == 1 {
            state.stop = CancellationToken::new();
            let feed = Feed { shared: Arc::clone(&self.0), node, log: log.clone(), stop: state.stop.clone() };
            tokio::spawn(feed.run());
        }
        Tracked(self.clone())
    }

    /// Tells that a connection came or went.
    pub(crate) fn tell(&self, change: DirectoryChange) {
        let mut state = self.0.state();
        state.changes.push(change);
        state.count += 1;
        drop(state);
        self.0.changed.notify_one();
    }

    /// Waits until the changes up to now have been offered, whatever came of it.
    pub(crate) async fn offered(&self) {
        let count = self.0.state().count;
        let mut offered = self.0.offered.subscribe();
        let _ = offered.wait_for(|offered| *offered >= count).await;
    }
}

/// One provider whose connections a directory is told of.
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

/// What runs while providers are attached.
struct Feed {
    shared: Arc<Shared>,
    node: NodeId,
    log: Log,
    stop: CancellationToken,
}

impl Feed {
    /// Tells the directory who came and went, and renews the node's lease; at the end for the last time.
    async fn run(self) {
        let mut renew = interval_at(Instant::now() + LEASE / 3, LEASE / 3);
        let mut offers = self.shared.offers.lock().await;
        loop {
            // Before what has changed is taken: what changes before the end is told.
            let is_last = self.stop.is_cancelled();
            let (changes, count) = {
                let mut state = self.shared.state();
                (std::mem::take(&mut state.changes), state.count)
            };
            changes.into_iter().for_each(|change| offers.hear(change));
            if let Err(error) = self.offer(&mut offers).await {
                tracing::warn!(%error, "the directory cannot be told; trying again");
            }
            self.shared.offered.send_replace(count);
            if is_last {
                return;
            }
            tokio::select! {
                () = self.shared.changed.notified() => {}
                _ = renew.tick() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Offers all that the directory has not been told, and renews the lease in any case. If the directory has begun the
    /// node's entries anew, those of before are lost: all connections are offered again.
    async fn offer(&self, offers: &mut Offers) -> Result<()> {
        let mut is_again = false;
        loop {
            let update = self.shared.directory.update(self.node, offers.next(), LEASE);
            let incarnation = timeout(ANSWER, update)
                .await
                .unwrap_or_else(|_| Err(Error::Backplane("the directory did not answer in time".into())))?;
            if offers.taken(incarnation) {
                tracing::warn!("the directory has lost this node's entries");
                for feed in self.log.feeds() {
                    feed.each_online(&mut |info| offers.offer_again(info.id, |since| Presence::of(info, since)));
                }
                // One that loses them at each update is told them at each renewal.
                if std::mem::replace(&mut is_again, true) {
                    return Ok(());
                }
            } else if offers.waiting.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Offers {
    fn hear(&mut self, change: DirectoryChange) {
        match change {
            DirectoryChange::Online(presence) => {
                self.since.insert(presence.connection, presence.since);
                self.waiting.insert(presence.connection, DirectoryChange::Online(presence));
            }
            DirectoryChange::Offline(id) => {
                self.since.remove(&id);
                if self.waiting.remove(&id).is_none() {
                    self.waiting.insert(id, DirectoryChange::Offline(id));
                }
            }
        }
    }

    /// What is to be offered now.
    fn next(&mut self) -> &[DirectoryChange] {
        if self.offered.is_empty() {
            self.offered.extend(self.waiting.drain().map(|(_, change)| change));
        }
        &self.offered
    }

    /// What was offered has been taken; answers whether what was taken before it has been lost.
    fn taken(&mut self, incarnation: Incarnation) -> bool {
        self.offered.clear();
        self.incarnation.replace(incarnation).is_some_and(|before| before != incarnation)
    }

    /// Offers a connection as it was offered before. One that is not known yet, or no more, has its own change on the
    /// way.
    fn offer_again(&mut self, id: ConnectionId, presence: impl FnOnce(SystemTime) -> Presence) {
        if let Some(since) = self.since.get(&id)
            && !self.waiting.contains_key(&id)
        {
            self.offered.push(DirectoryChange::Online(presence(*since)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(connection: ConnectionId) -> Presence {
        Presence { connection, provider: "p".into(), user: None, tenant: None, since: SystemTime::UNIX_EPOCH }
    }

    fn online(id: ConnectionId) -> DirectoryChange {
        DirectoryChange::Online(presence(id))
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone() {
        let (told, short) = (ConnectionId::random(), ConnectionId::random());
        let mut offers = Offers::default();
        offers.hear(online(told));
        assert_eq!(offers.next(), [online(told)]);
        offers.hear(online(short));
        offers.hear(DirectoryChange::Offline(short));
        offers.hear(DirectoryChange::Offline(told));
        assert_eq!(offers.next(), [online(told)], "perhaps it was taken");
        assert!(!offers.taken(Incarnation::new(1)));
        assert_eq!(offers.next(), [DirectoryChange::Offline(told)]);
        assert!(!offers.taken(Incarnation::new(1)));
        assert!(offers.next().is_empty() && offers.waiting.is_empty() && offers.since.is_empty());
    }

    #[test]
    fn only_those_are_offered_again_of_whom_nothing_else_is_to_be_told() {
        let [here, new, gone] = std::array::from_fn(|_| ConnectionId::random());
        let mut offers = Offers::default();
        [here, gone].into_iter().for_each(|id| offers.hear(online(id)));
        offers.next();
        offers.hear(online(new));
        offers.hear(DirectoryChange::Offline(gone));
        offers.taken(Incarnation::new(1));
        [here, new, gone].into_iter().for_each(|id| offers.offer_again(id, |_| presence(id)));
        assert_eq!(offers.next(), [online(here)]);
    }
}
