//! The entries that a process writes for its own nodes.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::try_join_all;
use realtime_core::spi::{DirectoryChange, Incarnation};
use realtime_core::{ConnectionId, NodeId, NodeInfo, Presence};

use super::entry::{self, Lease};
use super::mirror::{Ended, Mirror};
use super::watch::Watched;
use crate::api::{self, RESPONSE};
use crate::error::Fault;
use crate::store::Store;
use crate::streams::ensure;

/// The connections of one message: a change of one of them writes all of them again.
const PART: usize = 16;
/// The messages that are written at the same time.
const AT_ONCE: usize = 64;
/// The attempts to write a lease.
const ATTEMPTS: u32 = 4;

/// The entries of a node of this process, in parts.
#[derive(Debug, Default)]
pub(super) struct Own {
    incarnation: Option<Incarnation>,
    /// The sequence of the lease.
    revision: u64,
    parts: Vec<Vec<Presence>>,
    places: HashMap<ConnectionId, usize>,
    /// The parts with space for one more.
    open: BTreeSet<usize>,
    /// The parts that are not written yet.
    changed: BTreeSet<usize>,
}

impl Own {
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Renews the lease; begins another incarnation if the directory has lost it.
    pub(super) async fn renew(&mut self, store: &Store, node: &NodeInfo, lease: Duration) -> Result<(), Fault> {
        let subject = store.names.node(&node.id.to_string(), "lease");
        for _ in 0..ATTEMPTS {
            if let Some(incarnation) = self.incarnation {
                let json = Lease::new(node.clone(), incarnation, lease).to_json()?;
                match api::store_after(&store.link, &subject, self.revision, json, RESPONSE).await {
                    Ok(Some(revision)) => {
                        self.revision = revision;
                        return Ok(());
                    }
                    Ok(None) => {}
                    Err(fault) if fault.is_missing_stream() => {}
                    Err(fault) => return Err(fault),
                }
            }
            let found = match api::last_of_new(&store.link, &store.names.nodes, &subject).await {
                Err(fault) if fault.is_missing_stream() => {
                    let [.., settings] = store.names.shared(&store.config);
                    ensure(&store.link, &settings).await?;
                    None
                }
                found => found?,
            };
            self.revision = found.as_ref().map_or(0, |found| found.sequence);
            let stored = found.and_then(|found| Lease::read(&found.data));
            // Otherwise it is this node's own, whose answer was lost.
            if self.incarnation.is_none() || stored.map(|lease| lease.incarnation) != self.incarnation {
                self.begin(store, node.id).await?;
            }
        }
        Err(Fault::Unexpected("a lease that another node changes again and again"))
    }

    async fn begin(&mut self, store: &Store, node: NodeId) -> Result<(), Fault> {
        let revision = self.revision;
        *self = Self { incarnation: Some(Incarnation::random()), revision, ..Self::default() };
        // An empty stream may just be created.
        if api::info(&store.link, &store.names.nodes).await?.state.messages == 0 {
            return Ok(());
        }
        let parts = store.names.node(&node.to_string(), "c.>");
        api::purge(&store.link, &store.names.nodes, Some(&parts), None).await
    }

    /// Applies changes and writes them; returns the sequence of the last message.
    pub(super) async fn apply(
        &mut self,
        store: &Store,
        node: NodeId,
        changes: &[DirectoryChange],
    ) -> Result<u64, Fault> {
        for change in changes {
            match change {
                DirectoryChange::Online(presence) => self.set(presence),
                DirectoryChange::Offline(connection) => self.remove(*connection),
                _ => return Err(Fault::Unexpected("an unknown change of the directory")),
            }
        }
        let mut last = self.revision;
        let changed: Vec<_> = self.changed.iter().copied().collect();
        for some in changed.chunks(AT_ONCE) {
            let writes = some.iter().map(|&part| {
                let subject = store.names.node(&node.to_string(), &format!("c.{part}"));
                let json = entry::write(node, &self.parts[part]);
                async move { api::store(&store.link, &subject, HeaderMap::new(), json?, RESPONSE).await }
            });
            let written = try_join_all(writes).await?;
            last = written.iter().map(|stored| stored.sequence).fold(last, u64::max);
            self.changed.retain(|part| !some.contains(part));
        }
        Ok(last)
    }

    fn set(&mut self, presence: &Presence) {
        if let Some(&part) = self.places.get(&presence.connection) {
            let entries = &mut self.parts[part];
            if let Some(known) = entries.iter_mut().find(|known| known.connection == presence.connection) {
                *known = presence.clone();
            }
            self.changed.insert(part);
            return;
        }
        let part = self.open.first().copied().unwrap_or_else(|| {
            self.parts.push(Vec::with_capacity(PART));
            self.parts.len() - 1
        });
        self.parts[part].push(presence.clone());
        if self.parts[part].len() < PART {
            self.open.insert(part);
        } else {
            self.open.remove(&part);
        }
        self.places.insert(presence.connection, part);
        self.changed.insert(part);
    }

    fn remove(&mut self, connection: ConnectionId) {
        if let Some(part) = self.places.remove(&connection) {
            self.parts[part].retain(|presence| presence.connection != connection);
            self.open.insert(part);
            self.changed.insert(part);
        }
    }
}

/// Removes the entries of nodes whose lease is over. Nobody finds them any more, so that an error
/// does not matter: a later update tries again.
pub(super) async fn remove_ended(store: &Store, watched: &Watched) {
    let Ok(ended) = watched.read(Mirror::ended) else { return };
    for ended in ended {
        let removed = match ended {
            Ended::Lease(node, revision) => remove_node(store, node, revision).await,
            Ended::Note(node, revision) => {
                let subject = store.names.node(&node.to_string(), "lease");
                watched.change(|mirror| mirror.forget(node, revision));
                api::purge(&store.link, &store.names.nodes, Some(&subject), Some(revision + 1)).await
            }
        };
        if let Err(error) = removed {
            tracing::debug!(%error, "the entries of a node could not be removed");
        }
    }
}

/// Removes a node, unless it renews its lease meanwhile.
async fn remove_node(store: &Store, node: NodeId, revision: u64) -> Result<(), Fault> {
    let node = node.to_string();
    let lease = store.names.node(&node, "lease");
    // An empty lease, so that a node that returns learns that its entries are gone.
    if let Some(noted) = api::store_after(&store.link, &lease, revision, Bytes::new(), RESPONSE).await? {
        let entries = store.names.node(&node, ">");
        api::purge(&store.link, &store.names.nodes, Some(&entries), Some(noted)).await?;
    }
    Ok(())
}
