//! Refreshing the credentials of a connection, which stays as it is otherwise.

use std::sync::Arc;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::traits::auth::ConnectRequest;
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::refreshed::Refreshed;
use crate::values::refusal::{Refusal, RefusalKind};

impl<C: Codec> Dispatcher<C> {
    /// Refreshes the credentials of a connection for a transport whose clients ask for it by a
    /// request of its own: of a connection of this node, or of the same user's at another one.
    ///
    /// The authenticator is asked about the connection's first request with the new token in its
    /// place. For a connection of another node it is asked here too, about the request that asks
    /// for the refresh: that node is found by the user.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged: those of
    /// [`Context::refresh`](crate::Context::refresh); [`RefusalKind::UnknownConnection`] when
    /// neither this node nor, for a user with a name, another one has the connection;
    /// [`RefusalKind::Unavailable`] when the other node or the directory does not answer.
    pub async fn refresh(
        &self,
        connection: ConnectionId,
        token: &str,
        request: &ConnectRequest,
    ) -> Result<Refreshed, Refusal> {
        let refreshed = match self.hub.find(connection) {
            Some(connection) => self.refresh_here(&connection, token).await,
            None => self.refresh_elsewhere(connection, token, request).await,
        };
        refreshed.inspect_err(|refusal| self.counters.refused(refusal.kind()))
    }

    async fn refresh_elsewhere(
        &self,
        connection: ConnectionId,
        token: &str,
        request: &ConnectRequest,
    ) -> Result<Refreshed, Refusal> {
        let runtime = self.attached()?;
        check_token(runtime, token)?;
        let identity = self.ask_authenticator(runtime, &request.with_token(token)?).await?;
        self.check_identity(&identity)?;
        let most = (runtime.decision_timeout, runtime.max_waiting_refreshes);
        runtime.log.refresh_elsewhere(self.config.provider, connection, &identity, token, most).await
    }

    /// Refreshes the credentials of a connection of this node.
    ///
    /// # Errors
    /// A [`Refusal`], logged; the connection stays as it was.
    pub(super) async fn refresh_here(
        &self,
        connection: &Arc<Connection<C::Frame>>,
        token: &str,
    ) -> Result<Refreshed, Refusal> {
        let refreshed = self.try_refresh(connection, token).await;
        let info = &connection.info;
        match &refreshed {
            Ok(_) => tracing::debug!(provider = info.provider, connection = %info.id, "refreshed"),
            Err(refusal) => tracing::info!(
                provider = info.provider,
                connection = %info.id,
                user = info.identity.user_name(),
                tenant = info.identity.tenant_name(),
                reason = refusal.code(),
                detail = ?refusal.message(),
                "refresh refused"
            ),
        }
        refreshed
    }

    async fn try_refresh(&self, connection: &Arc<Connection<C::Frame>>, token: &str) -> Result<Refreshed, Refusal> {
        let Some(credentials) = &connection.credentials else {
            return Err(Refusal::bad_request("this connection's credentials do not expire"));
        };
        let runtime = self.attached()?;
        check_token(runtime, token)?;
        let _refreshing = credentials.begin_refresh()?;
        let identity = self.ask_authenticator(runtime, &credentials.request(token)?).await?;
        self.check_identity(&identity)?;
        if !identity.is_same_user(&connection.info.identity) {
            let text = "the token is another user's; open another connection with it";
            return Err(Refusal::new(RefusalKind::IdentityChanged, text));
        }
        if connection.outbox.is_closed() || !credentials.replace(identity) {
            return Err(Refusal::new(RefusalKind::UnknownConnection, "the connection has been closed"));
        }
        let left = self.expiries.schedule(connection, self.config.delivery.expiry_notice);
        self.end_if_revoked(connection);
        Ok(Refreshed::new(left))
    }

    fn attached(&self) -> Result<&Runtime, Refusal> {
        self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))
    }

    /// Rejects an identity that cannot connect: one that breaks the rules, has expired, or whose
    /// token is revoked.
    pub(super) fn check_identity(&self, identity: &Identity) -> Result<(), Refusal> {
        identity.check()?;
        if self.runtime.get().is_some_and(|runtime| runtime.log.is_revoked(identity)) {
            return Err(Refusal::unauthorized("the token has been revoked"));
        }
        Ok(())
    }
}

/// Rejects a token that is longer than allowed.
fn check_token(runtime: &Runtime, token: &str) -> Result<(), Refusal> {
    let most = runtime.max_token_bytes;
    if token.len() > most {
        return Err(Refusal::bad_request(format!("a token has 1 to {most} bytes")).with_setting("max_token_bytes"));
    }
    Ok(())
}
