use std::time::Duration;

use realtime_core::{Error, Result, setters};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ticket::claims::ClaimsCodec;

/// The name of the tickets' provider, in the place of a provider's in errors, and of the parameter.
pub(crate) const TICKET: &str = "ticket";

/// The longest lifetime of a ticket.
const MAX_LIFETIME: Duration = Duration::from_secs(600);

/// One-time tickets, for
/// [`NotificationServiceBuilder::tickets`](crate::NotificationServiceBuilder::tickets).
///
/// A client posts to `/ticket` with its credentials in a header, and gets
/// `{"ticket":"…","expiresIn":30}`. With `?ticket=…`, or Socket.IO's `auth.ticket`, it connects
/// once with any provider: for an `EventSource`, which can send no header, without the credentials
/// in a URL. A ticket holds the identity, encrypted with a key of the log's epoch
/// ([`cursor_secret`](crate::NotificationServiceBuilder::cursor_secret), or the log's own), so that
/// every node of the service accepts it, and the log decides which use is the first.
#[derive(Clone, Debug)]
pub struct TicketConfig {
    pub(crate) path: String,
    pub(crate) lifetime: Duration,
    pub(crate) claims: Vec<ClaimsCodec>,
}

impl Default for TicketConfig {
    fn default() -> Self {
        let config = Self { path: "/ticket".to_owned(), lifetime: Duration::from_secs(30), claims: Vec::new() };
        #[cfg(feature = "jwt")]
        let config = config.with_claims::<realtime_jwt::JwtClaims>();
        config
    }
}

setters! {
    impl TicketConfig {
        /// Sets where the service's router puts the route, in axum's syntax with its first slash;
        /// default `/ticket`.
        with_path(path: impl Into<String>);
        /// Sets how long a ticket can be used; default 30 s, 10 min at most, and never longer than
        /// its identity is valid. The log remembers a used one for twice as long and a minute, in
        /// which the clocks of the nodes may differ by that.
        with_lifetime(lifetime: Duration);
    }
}

impl TicketConfig {
    /// Puts claims of this type ([`Identity::with_claims`](crate::Identity::with_claims)) into
    /// tickets, as JSON. Without it no ticket is made for an identity with claims, and the log says
    /// so. Those of a JWT need no call.
    #[must_use]
    pub fn with_claims<T: Serialize + DeserializeOwned + Send + Sync + 'static>(mut self) -> Self {
        self.claims.push(ClaimsCodec::of::<T>());
        self
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Rejects what cannot work; the path is checked with those of the providers.
    pub(crate) fn check(&self) -> Result<()> {
        if self.lifetime.is_zero() || self.lifetime > MAX_LIFETIME {
            return Err(Error::Config("tickets: lifetime is zero, or more than 10 minutes".to_owned()));
        }
        Ok(())
    }
}
