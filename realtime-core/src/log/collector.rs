use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::log::report::{Item, Report, Settled};
use crate::values::ack::{AckReply, Ask};
use crate::values::node::{NodeId, NodeInfo};

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

impl Collector {
    /// Creates the collector of a record about which these nodes are to report.
    pub(super) fn new(ask: Option<Arc<Ask>>, open: HashSet<NodeId>) -> Self {
        let state = Mutex::new(State { open, ..State::default() });
        Self { ask, state, completed: Notify::new() }
    }

    /// Returns the nodes whose reports are awaited.
    pub(super) fn open(&self) -> Vec<NodeId> {
        self.state().open.iter().copied().collect()
    }

    /// Returns the number of connections that the nodes have closed so far.
    pub(super) fn closed(&self) -> u64 {
        self.state().closed
    }

    /// Waits until every node has reported or is lost.
    pub(super) async fn completed(&self) {
        loop {
            let completed = self.completed.notified();
            if self.state().open.is_empty() {
                return;
            }
            completed.await;
        }
    }

    /// Adds a report; returns how many items of its node have been received. `name` returns the
    /// name of a provider, as this node has it.
    pub(super) fn receive(&self, from: NodeId, report: &Report, name: impl Fn(&str) -> &'static str) -> u64 {
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
                Item::Closed(count) => state.closed = state.closed.saturating_add(*count),
                Item::End => self.complete(&mut state, from),
            }
        }
        let received = before + new.len() as u64;
        state.received.insert(from, received);
        received
    }

    /// Loses the nodes that are not among these.
    pub(super) fn keep(&self, nodes: &[NodeInfo]) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::values::ack::AckStatus;
    use crate::values::connection::ConnectionId;
    use crate::values::event_id::EventId;
    use crate::values::inbound::InboundPayload;

    fn collector(open: &[NodeId]) -> Collector {
        let ask = Arc::new(Ask::new());
        ask.set_awaits_nodes(true);
        Collector::new(Some(ask), open.iter().copied().collect())
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
