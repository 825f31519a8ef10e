//! Telling the directory who is here: each change, and all of it again when the directory has lost it.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, interval_at, timeout};

use crate::delivery::dispatcher::Dispatcher;
use crate::log::directory::{DirectoryChange, Incarnation, Presence};
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
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

impl<C: Codec> Dispatcher<C> {
    /// Tells the directory who came and went, and renews the node's lease; at the end for the last time.
    pub(super) async fn follow_directory(&self) {
        let Ok(runtime) = self.runtime() else { return };
        let mut renew = interval_at(Instant::now() + LEASE / 3, LEASE / 3);
        let mut offers = Offers::default();
        loop {
            // Before what has changed is taken: what changes before the end is told.
            let is_last = self.stop.is_cancelled();
            let changes = std::mem::take(&mut *self.directory_changes.lock().unwrap_or_else(PoisonError::into_inner));
            changes.into_iter().for_each(|change| offers.hear(change));
            if let Err(error) = self.tell(runtime, &mut offers).await {
                tracing::warn!(provider = self.config.provider, %error, "the directory cannot be told; trying again");
            }
            if is_last {
                return;
            }
            tokio::select! {
                () = self.directory_changed.notified() => {}
                _ = renew.tick() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Offers all that the directory has not been told, and renews the lease in any case. If the directory has begun
    /// the node's entries anew, those of before are lost: all that are this provider's are offered again.
    async fn tell(&self, runtime: &Runtime, offers: &mut Offers) -> Result<()> {
        let mut is_again = false;
        loop {
            let update = runtime.directory.update(runtime.node, offers.next(), LEASE);
            let incarnation = timeout(ANSWER, update)
                .await
                .unwrap_or_else(|_| Err(Error::Backplane("the directory did not answer in time".into())))?;
            if offers.taken(incarnation) {
                tracing::warn!(provider = self.config.provider, "the directory has lost this node's entries");
                for connection in self.hub.everyone().iter() {
                    offers.offer_again(connection.info.id, |since| Presence::of(&connection.info, since));
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
