//! Revoking tokens. Revocations are stored beside the log, since they hold whatever its epoch and
//! longer than its records; a record tells the nodes that run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use crate::log::handle::Log;
use crate::log::record::{Body, Providers};
use crate::log::shared::Shared;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::identity::Identity;
use crate::values::name::check_name;
use crate::values::revocation::Revocation;

/// The interval at which the stored revocations are read again: a record may have been lost with
/// its log.
const INTERVAL: Duration = Duration::from_secs(30);
/// The longest time that the backplane may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time that a revocation waits for the other nodes to report what they closed.
const REPORTED: Duration = Duration::from_secs(2);

impl Log {
    /// Revokes a token until a time on all nodes: its connections are closed, and connections and
    /// refreshes with it are refused, by nodes that start later too. At most `most` tokens are
    /// revoked at a time. A time that has passed revokes nothing.
    ///
    /// Returns how many connections were asked to close, as far as the nodes have reported it
    /// within two seconds.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotAttached`] without a provider;
    /// [`Error::TooManyRevocations`], and [`Error::Backplane`] before it was stored: the token is
    /// not revoked. When it is stored and the log does not take the record, the errors of
    /// [`crate::RealtimeProvider::close`]: this node refuses the token, and the others do within 30
    /// seconds.
    pub async fn revoke_token(&self, token: &str, until: SystemTime, most: usize) -> Result<usize> {
        check_name("token", token)?;
        if self.feeds().is_empty() {
            return Err(self.missing_provider(None));
        }
        let revocation = Revocation::new(token, until);
        if revocation.is_over(SystemTime::now()) {
            return Ok(0);
        }
        let shared = &self.0;
        within(shared.backplane.revoke(&revocation, most)).await?;
        shared.revocations.add(&revocation);
        let closed: usize = self.feeds().iter().map(|feed| feed.revoke(token)).sum();
        let id = EventId::random();
        let collecting = self.collect(id, None).await;
        let receipt = self.append(Providers::ALL, id, Body::Revoke(revocation), None).await?;
        let here = receipt.delivered.map_or(0, |delivered| delivered.matched);
        let there = collecting.closed(REPORTED).await;
        Ok(closed + here + usize::try_from(there).unwrap_or(usize::MAX))
    }

    /// Returns whether the token behind an identity is revoked.
    pub(crate) fn is_revoked(&self, identity: &Identity) -> bool {
        identity.token_id().is_some_and(|token| self.0.revocations.table.holds(token, SystemTime::now()))
    }
}

impl Shared {
    /// Reads the stored revocations, and closes the connections of those that are new here. Stores
    /// again what the backplane has lost.
    pub(super) async fn load_revocations(&self) -> Result<()> {
        let known = &self.revocations.table;
        known.forget(SystemTime::now());
        let here = known.all();
        let stored = within(self.backplane.revoked()).await?;
        for revocation in stored.iter().filter(|revocation| !revocation.is_over(SystemTime::now())) {
            if known.add(revocation) {
                let closed: usize = self.feeds().iter().map(|feed| feed.revoke(&revocation.token)).sum();
                tracing::debug!(closed, "a token is revoked that this node did not know of");
            }
        }
        for lost in here.iter().filter(|known| stored.iter().all(|stored| stored.token != known.token)) {
            within(self.backplane.revoke(lost, usize::MAX)).await?;
        }
        Ok(())
    }

    /// Reads the stored revocations again and again until the future is dropped.
    pub(super) async fn follow_revocations(self: Arc<Self>) {
        loop {
            let _ = timeout(INTERVAL, self.revocations.load_requested.notified()).await;
            if let Err(error) = self.load_revocations().await {
                tracing::warn!(%error, "the revoked tokens cannot be read; retrying");
            }
        }
    }
}

async fn within<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::Backplane("the revoked tokens were not read or written in time".into());
    timeout(TIMEOUT, answer).await.unwrap_or_else(|_| Err(late()))
}
