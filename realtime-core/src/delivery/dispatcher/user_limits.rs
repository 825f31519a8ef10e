//! The limits of a user's connections over all nodes.
//!
//! A node counts its own connections exactly, and those of other nodes by the directory, which may
//! not have them yet: the limit is exceeded by as many as connect to other nodes within one update
//! of the directory. While the directory does not answer, each node counts its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::admission::limits::Admission;
use crate::delivery::dispatcher::Dispatcher;
use crate::log::presence::Presence;
use crate::log::record::{Body, Providers};
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::event_id::EventId;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::refusal::Refusal;

/// The longest time that a client waits for the directory before only this node's connections are
/// counted.
const ANSWER: Duration = Duration::from_secs(1);
/// The interval at which the directory is asked again for a client that may wait.
const INTERVAL: Duration = Duration::from_millis(250);
/// The time that any client waits: the directory may not know yet that the client's own connection
/// to another node is closed.
const PATIENCE: Duration = Duration::from_millis(600);

impl<C: Codec> Dispatcher<C> {
    /// Checks the limits of a user for a connection that has its slots on this node. At a limit the
    /// user's connections are asked for a sign of life, and the client waits until there is room,
    /// up to a time.
    ///
    /// # Errors
    /// A [`Refusal`] of kind `UserLimit`.
    pub(super) async fn check_other_nodes(
        &self,
        runtime: &Runtime,
        identity: &Identity,
        until: Instant,
    ) -> Result<(), Refusal> {
        let Some(member) = Member::of(identity) else { return Ok(()) };
        let until = until.max(Instant::now() + PATIENCE);
        loop {
            let Some(elsewhere) = self.connections_elsewhere(runtime, &member).await else { return Ok(()) };
            let of_provider = elsewhere.iter().filter(|presence| presence.provider == self.config.provider).count();
            let own = check(&self.admission, &member, of_provider);
            let Err(refusal) = own.and_then(|()| check(&runtime.slots, &member, elsewhere.len())) else {
                return Ok(());
            };
            if runtime.slots.try_start_probe(identity) {
                runtime.log.feeds().iter().for_each(|feed| feed.probe(&member));
                let probe = Body::Probe { member: member.clone() };
                // A probe may be lost, and there is no connection without it either.
                let _ = runtime.log.publish(Providers::ALL, EventId::random(), probe).await;
            }
            if Instant::now() + INTERVAL > until {
                return Err(refusal);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Returns the user's connections at other nodes; `None` if there is no other node, or the
    /// directory does not answer.
    async fn connections_elsewhere(&self, runtime: &Runtime, member: &Member) -> Option<Vec<Presence>> {
        if !runtime.tracker.has_other_nodes() {
            return None;
        }
        let here = runtime.log.node().id;
        match timeout(ANSWER, runtime.log.directory().of_user(&member.user)).await {
            Ok(Ok(mut found)) => {
                found
                    .retain(|presence| presence.node != here && presence.tenant.as_deref() == member.tenant.as_deref());
                Some(found)
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(provider = self.config.provider, "only this node's connections of a user are counted");
                None
            }
        }
    }
}

fn check(admission: &Arc<Admission>, member: &Member, elsewhere: usize) -> Result<(), Refusal> {
    let (here, most) = admission.connections_of(member);
    if here + elsewhere > most { Err(admission.user_limit()) } else { Ok(()) }
}
