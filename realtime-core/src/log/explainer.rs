//! The answer of this node to a request for an explanation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::log::explain::{ExplainAsk, NodeAnswer};
use crate::log::feed::Feed;
use crate::log::life::ConnectionLife;
use crate::log::lives::{Forgotten, Kept};
use crate::log::record::Body;
use crate::log::shared::Shared;
use crate::log::verdict::{Case, Known, explained};
use crate::values::explanation::Explained;
use crate::values::fate::{Answer, Fate, Unknown};
use crate::values::member::Member;
use crate::values::node::NodeId;
use crate::values::target::Scope;

/// The most connections of a user in the answer of one node, open ones first, then the newest.
const MOST: usize = 100;

impl Shared {
    /// Answers another node.
    pub(super) fn answer_explain(self: &Arc<Self>, ask: &ExplainAsk, to: NodeId) {
        let (shared, ask) = (Arc::clone(self), ask.clone());
        tokio::spawn(async move {
            let answer = shared.explain_here(&ask).await;
            shared.publish_to(to, Body::Explained(answer)).await;
        });
    }

    /// Returns what this node knows of a user's connections, and what became of an event for them.
    pub(super) async fn explain_here(&self, ask: &ExplainAsk) -> NodeAnswer {
        let ExplainAsk { request, event, place, user, tenant } = ask;
        let member = Member { user: Arc::clone(user), tenant: tenant.clone() };
        let record = match place {
            None => Err(Unknown::Event),
            Some((_, position)) => match self.record_at(*position, *event).await {
                Err(_) => Err(Unknown::Log),
                Ok(None) => Err(Unknown::Event),
                Ok(Some(entry)) => entry.record.decode().map_err(|_| Unknown::NotAnEvent),
            },
        };
        let record = record.as_ref().map_err(Clone::clone);
        let case = record.and_then(|record| {
            let (epoch, position) = place.ok_or(Unknown::Event)?;
            // Looked up before the connections: what is pushed in between makes them know more.
            let applied = self.lock_applied().tip.position;
            Ok(Case { record, position, epoch, applied })
        });
        let (lives, kept) = self.lives_of(&member, case.as_ref().ok());
        let connections = lives.iter().map(|life| self.judge(life, case.as_ref())).collect();
        let (created, started) = (event.created_ms(), self.lives.started_ms);
        // By positions, as far as there is one: the clocks of two machines differ.
        let is_older = match place {
            Some((_, position)) => position.get() <= self.first_read.load(Ordering::Acquire),
            None => created.is_none_or(|created| created <= started),
        };
        let may_be_for = |forgotten: &Forgotten| match place {
            Some((epoch, position)) => *epoch != forgotten.epoch || *position <= forgotten.position,
            None => created.is_none_or(|created| created <= forgotten.at_ms),
        };
        NodeAnswer {
            request: *request,
            started_ms: is_older.then_some(started),
            forgotten_ms: kept.forgotten.filter(may_be_for).map(|forgotten| forgotten.at_ms),
            keeps: kept.is_on,
            more: kept.more,
            connections,
        }
    }

    /// Returns the open connections of a user, and those that have ended.
    fn lives_of(&self, member: &Member, case: Option<&Case<'_>>) -> (Vec<ConnectionLife>, Kept) {
        let room = case.and_then(Case::event).and_then(|(target, ..)| match target.scope() {
            Scope::Room { name, .. } => Some(&**name),
            _ => None,
        });
        // First those that are open: one that ends in between is among both, and not in none.
        let mut lives: Vec<_> = self.feeds().iter().flat_map(|feed| feed.lives(member, room)).collect();
        let open = lives.len();
        lives.truncate(MOST);
        let mut kept = self.lives.of(member, MOST);
        for life in std::mem::take(&mut kept.lives) {
            match lives.iter().position(|open| open.connection == life.connection) {
                Some(at) => lives[at] = life,
                None if lives.len() < MOST => lives.push(life),
                None => kept.more += 1,
            }
        }
        kept.more += open.saturating_sub(MOST) as u64;
        (lives, kept)
    }

    fn judge(&self, life: &ConnectionLife, case: Result<&Case<'_>, &Unknown>) -> Explained {
        let case = match case {
            Ok(case) => case,
            Err(why) => return explained(self.node.id, life, Fate::Unknown { why: why.clone() }),
        };
        let feeds = self.feeds();
        let feed = feeds.iter().find(|feed| feed.provider() == life.provider);
        let known = match case.event() {
            Some((target, event, is_ask)) => Known {
                carries: feed.is_none_or(|feed| feed.carries(event, is_ask)),
                widens: feed.is_some_and(|feed| feed.widens()),
                is_joined: match (target.scope(), feeds.first()) {
                    (Scope::Room { name, .. }, Some(feed)) => is_joined(&**feed, life, name, case),
                    _ => None,
                },
                answer: is_ask.then(|| match feed {
                    Some(feed) if feed.awaits(case.position, life.connection) => Answer::Waiting,
                    _ => self.lives.answer(case.position, life.connection),
                }),
            },
            None => Known::default(),
        };
        case.judge(self.node.id, life, known)
    }
}

/// Returns whether the server had joined the user to a room; each provider knows all of that.
fn is_joined(feed: &dyn Feed, life: &ConnectionLife, room: &str, case: &Case<'_>) -> Option<bool> {
    let Some(user) = &life.user else { return Some(false) };
    feed.was_joined(&Member { user: Arc::clone(user), tenant: life.tenant.clone() }, room, case.position)
}
