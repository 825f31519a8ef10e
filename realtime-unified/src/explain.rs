//! Why a user got an event, or did not.

use realtime_core::explanation::Explanation;
use realtime_core::{Error, EventId, Result};

use crate::service::NotificationService;

impl NotificationService {
    /// Explains what became of an event for the connections of a user, in any tenant, open or
    /// ended, on all nodes: whom it was sent to, and for each connection whether it was meant, and
    /// whether the event waits, was written or acknowledged, or was dropped and why. The id is that
    /// of the send's [`Receipt`](realtime_core::Receipt), and the explanation's text is for
    /// operators:
    ///
    /// ```no_run
    /// # async fn explain(
    /// #     service: realtime_unified::NotificationService,
    /// # ) -> realtime_unified::Result<()> {
    /// let receipt = service.to_user("ann", "order:paid", &7).await?;
    /// println!("{}", service.explain(receipt.id, "ann").await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Each node keeps the connections that have ended
    /// ([`connection_lives`](crate::NotificationServiceBuilder::connection_lives)). What is beyond
    /// them is `unknown` with its reason, as are volatile events, which no log has. Nodes have two
    /// seconds for their answers; those that do not answer are named. Custom providers are not
    /// asked.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::NotAttached`] for fakes.
    pub async fn explain(&self, event: EventId, user: &str) -> Result<Explanation> {
        self.explain_for(event, user, None).await
    }

    /// Explains what became of an event for the user of one tenant, as
    /// [`NotificationService::explain`] does.
    ///
    /// # Errors
    /// Those of [`NotificationService::explain`].
    pub async fn explain_in(&self, tenant: &str, event: EventId, user: &str) -> Result<Explanation> {
        self.explain_for(event, user, Some(tenant)).await
    }

    async fn explain_for(&self, event: EventId, user: &str, tenant: Option<&str>) -> Result<Explanation> {
        let log = self.log().ok_or_else(|| Error::NotAttached { provider: None })?;
        log.explain(event, user, tenant).await
    }
}
