//! Collecting what the other nodes report about a record of this node: answers of their
//! connections, or how many they closed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::log::handle::Log;
use crate::log::record::Body;
use crate::log::report::{Item, Received, Report, Settled};
use crate::log::shared::Shared;
use crate::values::ack::{AckReply, Ask};
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::node::{NodeId, NodeInfo};

/// The interval at which nodes that have not reported are looked for in the directory.
const NODES_INTERVAL: Duration = Duration::from_secs(2);
/// The longest time that the directory may take to return the nodes.
const NODES_TIMEOUT: Duration = Duration::from_secs(2);

/// The reports about one record.
pub(crate) struct Collector {
    /// The ask that the record belongs to; `None` for a close.
    ask: Option<Arc<Ask>>,
    state: Mutex<State>,
    /// Notified when no more reports are awaited.
    completed: Notify,
}

#[derive(Default)]
struct State {
    /// The nodes whose reports are awaited: those that had a lease before the record was appended.
    open: HashSet<NodeId>,
    /// The number of items that each node has reported.
    received: HashMap<NodeId, u64>,
    closed: u64,
}

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
            tracing::warn!(%error, "what other nodes report cannot be received");
            None
        });
        let open: HashSet<_> = match shared.nodes().await {
            Ok(nodes) => nodes.into_iter().map(|node| node.id).filter(|node| *node != shared.node.id).collect(),
            Err(error) => {
                tracing::warn!(%error, "the other nodes are unknown: what they report may come too late");
                HashSet::new()
            }
        };
        if let Some(ask) = &ask {
            ask.set_awaits_nodes(!open.is_empty());
        }
        let has_open = !open.is_empty();
        let state = Mutex::new(State { open, ..State::default() });
        let collector = Arc::new(Collector { ask, state, completed: Notify::new() });
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
        let completed = async {
            loop {
                let completed = self.collector.completed.notified();
                if self.collector.state().open.is_empty() {
                    return;
                }
                completed.await;
            }
        };
        if tokio::time::timeout(most, completed).await.is_err() {
            tracing::debug!(record = %self.record, "not every node has reported in time");
        }
        self.collector.state().closed
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.shared.collectors().remove(&self.record);
        let open: Vec<_> = self.collector.state().open.iter().copied().collect();
        // Without a runtime the nodes learn it with their next report.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        for node in open {
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

impl Collector {
    fn receive(&self, from: NodeId, report: &Report, name: impl Fn(&str) -> &'static str) -> u64 {
        let mut state = self.state();
        let before = state.received.get(&from).copied().unwrap_or(0);
        let Some(known) = before.checked_sub(report.first) else { return before };
        let new = report.items.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        for item in new {
            match item {
                Item::Expected { connection, provider } => {
                    self.ask.iter().for_each(|ask| ask.expect_at(from, *connection, name(provider)));
                }
                Item::Settled(settled) => self.ask.iter().for_each(|ask| ask.settle_at(reply(settled, &name))),
                Item::Closed(count) => state.closed += count,
                Item::End => self.complete(&mut state, from),
            }
        }
        let received = before + new.len() as u64;
        state.received.insert(from, received);
        received
    }

    /// Loses the nodes that are not among these.
    fn keep(&self, nodes: &[NodeInfo]) {
        let mut state = self.state();
        let lost: Vec<_> =
            state.open.iter().filter(|open| nodes.iter().all(|node| node.id != **open)).copied().collect();
        for node in lost {
            self.ask.iter().for_each(|ask| ask.lose_node(node));
            self.complete(&mut state, node);
        }
    }

    fn complete(&self, state: &mut State, node: NodeId) {
        state.open.remove(&node);
        if state.open.is_empty() {
            self.ask.iter().for_each(|ask| ask.set_awaits_nodes(false));
            self.completed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reply(settled: &Settled, name: impl Fn(&str) -> &'static str) -> AckReply {
    let mut reply = AckReply::unanswered(settled.connection, settled.status, settled.elapsed);
    reply.payload = settled.payload.clone();
    reply.with_provider(name(&settled.provider))
}

/// Looks for nodes that have lost their lease, while reports are awaited.
async fn watch_nodes(shared: Weak<Shared>, collector: Weak<Collector>) {
    loop {
        tokio::time::sleep(NODES_INTERVAL).await;
        let (Some(shared), Some(collector)) = (shared.upgrade(), collector.upgrade()) else { return };
        if collector.state().open.is_empty() {
            return;
        }
        match shared.nodes().await {
            Ok(nodes) => collector.keep(&nodes),
            Err(error) => tracing::debug!(%error, "the nodes that have not reported cannot be looked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ack::AckStatus;
    use crate::values::connection::ConnectionId;
    use crate::values::inbound::InboundPayload;

    fn collector(open: &[NodeId]) -> Collector {
        let ask = Arc::new(Ask::new());
        ask.set_awaits_nodes(true);
        let state = Mutex::new(State { open: open.iter().copied().collect(), ..State::default() });
        Collector { ask: Some(ask), state, completed: Notify::new() }
    }

    fn expected(connection: ConnectionId) -> Item {
        Item::Expected { connection, provider: "ws".into() }
    }

    fn answered(connection: ConnectionId) -> Item {
        let (provider, elapsed, payload) = ("ws".into(), Duration::ZERO, InboundPayload::json_text("1"));
        Item::Settled(Settled { connection, provider, status: AckStatus::Answered, elapsed, payload })
    }

    fn outcomes(collector: &Collector) -> Vec<Option<AckStatus>> {
        let mut acks = crate::values::ack::Acks::new(
            Arc::clone(collector.ask.as_ref().unwrap()),
            tokio::time::Instant::now() + Duration::from_secs(60),
            || {},
        );
        let next = || futures_util::FutureExt::now_or_never(acks.next());
        std::iter::from_fn(next).take_while(Option::is_some).map(|reply| reply.map(|reply| reply.status)).collect()
    }

    #[tokio::test]
    async fn repeated_and_reordered_reports_change_nothing() {
        let [one, two] = [NodeId::random(), NodeId::random()];
        let (collector, connection) = (collector(&[one, two]), ConnectionId::random());
        let report = |first, items: &[Item]| Report { record: EventId::random(), first, items: items.to_vec() };
        let name = |_: &str| "ws";
        let all = [expected(connection), answered(connection), Item::Closed(2), Item::End];
        assert_eq!(collector.receive(one, &report(2, &all[2..]), name), 0, "what is before is missing");
        assert_eq!(collector.receive(one, &report(0, &all[..1]), name), 1);
        assert_eq!(collector.receive(one, &report(0, &all[..3]), name), 3);
        assert_eq!(collector.receive(one, &report(1, &all[1..3]), name), 3);
        assert_eq!(collector.receive(one, &report(3, &all[3..]), name), 4);
        assert_eq!(collector.receive(one, &report(0, &all), name), 4);
        assert_eq!(collector.state().closed, 2);
        assert_eq!(outcomes(&collector), [Some(AckStatus::Answered)]);
        assert_eq!(collector.state().open, HashSet::from([two]));
    }

    #[tokio::test]
    async fn node_without_a_lease_is_lost_with_its_connections() {
        let [here, lost, later] = [(); 3].map(|()| NodeInfo::new(NodeId::random()));
        let (collector, connection) = (collector(&[here.id, lost.id]), ConnectionId::random());
        let report = Report { record: EventId::random(), first: 0, items: vec![expected(connection)] };
        collector.receive(lost.id, &report, |_| "ws");
        collector.keep(&[here.clone(), later]);
        assert_eq!(outcomes(&collector), [Some(AckStatus::NodeLost)]);
        assert_eq!(collector.state().open, HashSet::from([here.id]));
        collector.keep(&[]);
        assert!(collector.state().open.is_empty());
    }
}
