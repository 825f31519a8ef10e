//! Refreshing the credentials of another node's connection: that node has its request, and asks the
//! authenticator.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::log::handle::Log;
use crate::log::record::Body;
use crate::log::refresh::{RefreshAsk, RefreshOutcome, Refreshes};
use crate::log::shared::Shared;
use crate::values::connection::ConnectionId;
use crate::values::event_id::EventId;
use crate::values::identity::Identity;
use crate::values::node::NodeId;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::token::Token;

/// The longest time that the directory may take to find a connection.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(1);
/// The time for the way to the other node and back, in addition to the authenticator's.
const WAY: Duration = Duration::from_secs(2);

/// A guard: the refresh waits until it is dropped.
struct Waiting<'a> {
    refreshes: &'a Refreshes,
    request: EventId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.refreshes.table().remove(&self.request);
    }
}

impl Log {
    /// Has the node that has a user's connection refresh its credentials, where the authenticator
    /// may take `most`; no more than `most_waiting` wait at a time.
    pub(crate) async fn refresh_elsewhere(
        &self,
        provider: &str,
        connection: ConnectionId,
        identity: &Identity,
        token: &str,
        (most, most_waiting): (Duration, usize),
    ) -> RefreshOutcome {
        let node = self.find_elsewhere(provider, connection, identity).await?;
        let (request, (answer, answered)) = (EventId::random(), oneshot::channel());
        let refreshes = &self.0.refreshes;
        {
            let mut table = refreshes.table();
            if table.len() >= most_waiting {
                let text = "too many refreshes wait for other nodes";
                return Err(Refusal::new(RefusalKind::Unavailable, text).with_setting("waiting_refreshes"));
            }
            table.insert(request, answer);
        }
        let _waiting = Waiting { refreshes, request };
        let ask = RefreshAsk { request, provider: provider.into(), connection, token: Token(token.into()) };
        self.0.publish_to(node, Body::Refresh(ask)).await;
        let late = || Err(Refusal::new(RefusalKind::Unavailable, "the connection's node did not answer in time"));
        timeout(most + WAY, answered).await.ok().and_then(Result::ok).unwrap_or_else(late)
    }

    /// Returns the node that has a connection of this user.
    async fn find_elsewhere(
        &self,
        provider: &str,
        connection: ConnectionId,
        identity: &Identity,
    ) -> Result<NodeId, Refusal> {
        let unknown = || Refusal::new(RefusalKind::UnknownConnection, "there is no such connection of this user");
        let user = identity.user_name().ok_or_else(unknown)?;
        let found = timeout(DIRECTORY_TIMEOUT, self.directory().of_user(user)).await.ok().and_then(Result::ok);
        let found = found.ok_or_else(|| Refusal::new(RefusalKind::Unavailable, "the directory did not answer"))?;
        let mut of_user = found.into_iter().filter(|found| found.tenant.as_deref() == identity.tenant_name());
        let found = of_user.find(|found| found.connection == connection && found.provider == provider);
        found.map(|found| found.node).filter(|node| *node != self.node().id).ok_or_else(unknown)
    }
}

impl Shared {
    /// Refreshes a connection of this node for another one, and answers it.
    pub(super) fn answer_refresh(self: &Arc<Self>, ask: &RefreshAsk, to: NodeId) {
        let request = ask.request;
        let feed = self.feeds().into_iter().find(|feed| *feed.provider() == *ask.provider);
        let refresh = feed.and_then(|feed| feed.refresh(ask.connection, ask.token.clone()));
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = match refresh {
                Some(refresh) => refresh.await,
                None => Err(Refusal::new(RefusalKind::UnknownConnection, "the connection has been closed")),
            };
            shared.publish_to(to, Body::Refreshed { request, outcome }).await;
        });
    }

    /// Passes the answer of another node to the refresh that waits for it.
    pub(super) fn refreshed(&self, request: EventId, outcome: &RefreshOutcome) {
        let waiting = self.refreshes.table().remove(&request);
        if let Some(waiting) = waiting {
            // Its client may have given up meanwhile.
            let _ = waiting.send(outcome.clone());
        }
    }
}
