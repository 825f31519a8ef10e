use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use realtime_core::{ConnectRequest, Error, Identity, Refusal, Result};
use realtime_http::Rejection;
use realtime_http::spi::peer_of;

use crate::service::NotificationService;

/// An extractor of the caller's identity for routes of the application's own: it asks the service's
/// authenticator, as the ready-made routes do. The authenticator sees `"http"` as
/// [`ConnectRequest::provider`], and the address of the TCP connection.
///
/// A request from a page that may not connect
/// ([`origins`](crate::NotificationServiceBuilder::origins)) is rejected, so that no other page
/// posts with its visitor's cookies. The service is a part of the router's state, see [`FromRef`].
///
/// ```
/// use axum::{Router, extract::State, routing::post};
/// use realtime_unified::{Caller, NotificationService, Rejection};
///
/// async fn say(Caller(who): Caller, State(service): State<NotificationService>, text: String) -> Result<(), Rejection> {
///     service.to_room("lobby", "said", &(who.user_name(), text)).await?;
///     Ok(())
/// }
///
/// let routes: Router<NotificationService> = Router::new().route("/say", post(say));
/// ```
#[derive(Clone, Debug)]
pub struct Caller(pub Identity);

impl<S> FromRequestParts<S> for Caller
where
    NotificationService: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        Ok(Self(NotificationService::from_ref(state).identify(parts).await?))
    }
}

/// The name of the provider that an authenticator sees.
pub(crate) const HTTP: &str = "http";

impl NotificationService {
    /// Asks the authenticator who makes a request to a route of the application's own, as
    /// [`Caller`] does.
    ///
    /// # Errors
    /// [`Error::Refused`], logged, from the authenticator, or because the page may not connect;
    /// [`Error::NotAttached`] for mocks.
    pub async fn identify(&self, parts: &Parts) -> Result<Identity> {
        let runtime = self.runtime().ok_or_else(|| Error::NotAttached { provider: None })?;
        let address = peer_of(parts).map(|peer| peer.ip().to_canonical());
        let seen = self.origins().without_foreign_cookies(parts);
        let request = ConnectRequest::new(HTTP, &seen).with_address(address);
        let identified = match self.origins().check(parts) {
            Ok(()) => runtime.identify(&request).await,
            Err(refusal) => Err(refusal),
        };
        Ok(identified.inspect_err(|refusal: &Refusal| {
            tracing::info!(
                path = parts.uri.path(),
                address = address.map(tracing::field::display),
                reason = refusal.code(),
                setting = refusal.setting(),
                detail = ?refusal.message(),
                "request refused"
            );
        })?)
    }
}
