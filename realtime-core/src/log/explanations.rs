//! Explaining why a user got an event, or did not: this node finds the record, and asks every node
//! for the user's connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::log::backplane::Entry;
use crate::log::explain::{ExplainAsk, Explains, NEEDS, NodeAnswer};
use crate::log::handle::Log;
use crate::log::lives::Lives;
use crate::log::record::Body;
use crate::log::shared::Shared;
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::explanation::{ExplainedNode, Explanation, Published};
use crate::values::fate::{Acknowledgement, Fate, Unknown};
use crate::values::member::Member;
use crate::values::node::{NodeId, NodeInfo};

/// The time that other nodes have for their answers.
const ANSWER: Duration = Duration::from_secs(2);
/// The time after which nodes that have not answered are asked again: the pipe may lose a message.
const AGAIN: Duration = Duration::from_millis(700);
/// A guard: answers are collected until it is dropped.
struct Waiting<'a> {
    explains: &'a Explains,
    request: EventId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.explains.table().remove(&self.request);
    }
}

impl Log {
    /// Sets how many connections this node keeps after their end, to explain what became of an
    /// event for them, and how many answers to asks; 0 keeps none.
    pub fn keep_lives(&self, most: usize) {
        self.0.lives.keep(most);
    }

    /// Returns the connections of this node that have ended.
    pub(crate) fn lives(&self) -> &Lives {
        &self.0.lives
    }

    /// Explains what became of an event for the connections of a user, in any tenant or in one, on
    /// all nodes: within two seconds for the record, and two for the other nodes' answers.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub async fn explain(&self, event: EventId, user: &str, tenant: Option<&str>) -> Result<Explanation> {
        let member = Member::new(user, tenant);
        member.check()?;
        let shared = &self.0;
        // Never closed.
        let _turn = shared.explains.turns.acquire().await;
        let mut explanation = Explanation::new(event, user, tenant);
        let found = shared.find_record(event).await;
        let place = found.as_ref().ok().map(|(entry, epoch)| (*epoch, entry.position));
        match found.and_then(|(entry, _)| published(&entry)) {
            Ok(published) => explanation.published = Some(published),
            Err(unknown) => explanation.unknown.push(unknown),
        }
        let Member { user, tenant } = member;
        let ask = ExplainAsk { request: EventId::random(), event, place, user, tenant };
        // A process that only publishes has no connections.
        if !shared.publishes.load(Ordering::Acquire) {
            let answer = shared.explain_here(&ask).await;
            add(&mut explanation, shared.node.clone(), answer);
        }
        shared.ask_nodes(&ask, &mut explanation).await;
        note_gone_publisher(&mut explanation, shared.node.id);
        acknowledge(&mut explanation);
        explanation.connections.sort_by_key(|known| (known.connected_ms, known.connection));
        Ok(explanation)
    }
}

impl Shared {
    /// Adds what the other nodes answer.
    async fn ask_nodes(self: &Arc<Self>, ask: &ExplainAsk, explanation: &mut Explanation) {
        let _listening = self.listen().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "what other nodes answer cannot be received");
            None
        });
        let Ok(nodes) = self.nodes().await else { return explanation.unknown.push(Unknown::Directory) };
        let others = nodes.into_iter().filter(|node| node.id != self.node.id);
        let (older, mut open): (Vec<_>, Vec<_>) = others.partition(|node| node.reads < NEEDS);
        let (sender, mut answers) = mpsc::channel(2 * open.len().max(1));
        self.explains.table().insert(ask.request, sender);
        let _waiting = Waiting { explains: &self.explains, request: ask.request };
        let (mut again, until) = (Some(Instant::now() + AGAIN), Instant::now() + ANSWER);
        self.ask_each(&open, ask, until).await;
        while !open.is_empty() {
            match timeout_at(again.unwrap_or(until), answers.recv()).await {
                Ok(Some((from, answer))) => {
                    // A node that was asked twice answers twice.
                    let Some(at) = open.iter().position(|node| node.id == from) else { continue };
                    add(explanation, open.swap_remove(at), answer);
                }
                Err(_) if again.take().is_some() => self.ask_each(&open, ask, until).await,
                Ok(None) | Err(_) => break,
            }
        }
        for (node, unknown) in older
            .into_iter()
            .map(|node| (node.clone(), Unknown::Version { node }))
            .chain(open.into_iter().map(|node| (node.clone(), Unknown::Silent { node })))
        {
            explanation.nodes.push(ExplainedNode { node, answered: false });
            explanation.unknown.push(unknown);
        }
    }

    async fn ask_each(&self, nodes: &[NodeInfo], ask: &ExplainAsk, until: Instant) {
        let asked = nodes.iter().map(|node| self.publish_to(node.id, Body::Explain(ask.clone())));
        // Who was not asked does not answer.
        let _ = timeout_at(until, join_all(asked)).await;
    }

    /// Passes the answer of another node to the explanation that waits for it.
    pub(super) fn explained(&self, from: NodeId, answer: &NodeAnswer) {
        if let Some(answers) = self.explains.table().get(&answer.request) {
            // Full only with answers that were there before.
            let _ = answers.try_send((from, answer.clone()));
        }
    }
}

/// Returns the event of an entry.
fn published(entry: &Entry) -> std::result::Result<Published, Unknown> {
    let record = entry.record.decode().map_err(|_| Unknown::NotAnEvent)?;
    let (target, event, is_ask) = match &record.body {
        Body::Ask { target, event, .. } => (target, event, true),
        Body::Event { target, event, .. } => (target, event, false),
        _ => return Err(Unknown::NotAnEvent),
    };
    let names = record.providers.names();
    Ok(Published {
        at_ms: record.id.created_ms(),
        providers: names.map(|names| names.iter().map(|name| String::from(&**name)).collect()),
        size: event.payload().size(),
        latest_key: event.latest_key().map(|key| String::from(&**key)),
        is_ask,
        ..Published::new(event.name(), entry.position, record.node, target.clone())
    })
}

/// Adds the answer of a node, and what it cannot know.
fn add(explanation: &mut Explanation, node: NodeInfo, answer: NodeAnswer) {
    let NodeAnswer { request: _, started_ms, forgotten_ms, keeps, more, connections } = answer;
    explanation.connections.extend(connections);
    let unknown = &mut explanation.unknown;
    if !keeps {
        unknown.push(Unknown::NotKept { node: node.clone() });
    }
    unknown.extend(started_ms.map(|at_ms| Unknown::NodeStarted { node: node.clone(), at_ms }));
    unknown.extend(forgotten_ms.map(|until_ms| Unknown::Overwritten { node: node.clone(), until_ms }));
    if more > 0 {
        unknown.push(Unknown::More { node: node.clone(), connections: more });
    }
    explanation.nodes.push(ExplainedNode { node, answered: true });
}

/// Notes that the node which published the event may be gone, unless it is this one, or among those
/// that were asked.
fn note_gone_publisher(explanation: &mut Explanation, here: NodeId) {
    let publisher = explanation.published.as_ref().map(|published| published.node).filter(|node| *node != here);
    if publisher.is_some_and(|publisher| explanation.nodes.iter().all(|known| known.node.id != publisher)) {
        explanation.unknown.push(Unknown::PublisherGone);
    }
}

/// Marks what has arrived: a later connection of the client, which names the one that took the
/// event, has resumed from after it.
fn acknowledge(explanation: &mut Explanation) {
    let Some(position) = explanation.published.as_ref().map(|published| published.position) else { return };
    let later = explanation.connections.iter().filter(|known| known.began == "resumed" && known.from >= position);
    let later: HashMap<_, _> = later.filter_map(|known| Some((known.former?, known.connection))).collect();
    for known in explanation.connections.iter_mut().filter(|known| known.fate == Fate::Written) {
        if let Some(by) = later.get(&known.connection) {
            known.fate = Fate::Acknowledged { by: Acknowledgement::Resumed(*by) };
        }
    }
}
