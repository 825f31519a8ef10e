//! Collecting what the other nodes report about a record of this node: answers of their
//! connections, or how many they closed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::DropGuard;

use crate::log::collector::Collector;
use crate::log::handle::Log;
use crate::log::record::Body;
use crate::log::report::{Received, Report};
use crate::log::shared::Shared;
use crate::values::ack::Ask;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::node::{NodeId, NodeInfo};

/// The interval at which nodes that have not reported are looked for in the directory.
const NODES_INTERVAL: Duration = Duration::from_secs(2);
/// The longest time that the directory may take to return the nodes: an ask or a close has an
/// outcome soon after two seconds, whatever is away.
const NODES_TIMEOUT: Duration = Duration::from_millis(500);

/// A guard: reports about the record are collected until it is dropped.
pub(super) struct Collecting {
    shared: Arc<Shared>,
    record: EventId,
    collector: Arc<Collector>,
    /// Receives the reports, if no loop of this node does.
    _listening: Option<DropGuard>,
}

impl Log {
    /// Begins to collect the reports about a record that is about to be appended. Waits for the
    /// directory: a node without a lease by then had no connection that the record could reach.
    pub(super) async fn collect(&self, record: EventId, ask: Option<Arc<Ask>>) -> Collecting {
        let shared = &self.0;
        let _listening = shared.listen().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot receive reports from other nodes");
            None
        });
        let open: HashSet<_> = match shared.nodes().await {
            Ok(nodes) => nodes.into_iter().map(|node| node.id).filter(|node| *node != shared.node.id).collect(),
            Err(error) => {
                tracing::warn!(%error, "cannot list the nodes; their reports may be missed");
                HashSet::new()
            }
        };
        if let Some(ask) = &ask {
            ask.set_awaits_nodes(!open.is_empty());
        }
        let has_open = !open.is_empty();
        let collector = Arc::new(Collector::new(ask, open));
        shared.collectors().insert(record, Arc::downgrade(&collector));
        if has_open {
            tokio::spawn(watch_nodes(Arc::downgrade(shared), Arc::downgrade(&collector)));
        }
        Collecting { shared: Arc::clone(shared), record, collector, _listening }
    }
}

impl Collecting {
    /// Waits until every node has reported or lost its lease, for this long at most; returns the
    /// number of connections that they closed.
    pub(super) async fn closed(&self, most: Duration) -> u64 {
        if tokio::time::timeout(most, self.collector.completed()).await.is_err() {
            tracing::debug!(record = %self.record, "not every node has reported in time");
        }
        self.collector.closed()
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.shared.collectors().remove(&self.record);
        // Without a runtime the nodes learn it with their next report.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for node in self.collector.open() {
            let (shared, received) = (Arc::clone(&self.shared), Received { record: self.record, items: None });
            runtime.spawn(async move { shared.publish_to(node, Body::Received(received)).await });
        }
    }
}

impl Shared {
    /// Returns the nodes that have a lease.
    pub(super) async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        let nodes = tokio::time::timeout(NODES_TIMEOUT, self.directory.nodes()).await;
        nodes.unwrap_or_else(|_| Err(Error::Backplane("the directory did not answer in time".into())))
    }

    /// Adds a report; returns how many items of its node have been received, or `None` if none are
    /// awaited any longer.
    pub(super) fn receive(&self, from: NodeId, report: &Report) -> Option<u64> {
        let collector = self.collectors().get(&report.record).and_then(Weak::upgrade)?;
        let known = self.state().known.clone();
        let name = |provider: &str| known.get(provider).copied().unwrap_or_default();
        Some(collector.receive(from, report, name))
    }

    fn collectors(&self) -> MutexGuard<'_, HashMap<EventId, Weak<Collector>>> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for nodes that have lost their lease, while reports are awaited.
async fn watch_nodes(shared: Weak<Shared>, collector: Weak<Collector>) {
    loop {
        tokio::time::sleep(NODES_INTERVAL).await;
        let (Some(shared), Some(collector)) = (shared.upgrade(), collector.upgrade()) else { return };
        if collector.open().is_empty() {
            return;
        }
        match shared.nodes().await {
            Ok(nodes) => collector.keep(&nodes),
            Err(error) => tracing::debug!(%error, "the nodes that have not reported cannot be looked for"),
        }
    }
}
