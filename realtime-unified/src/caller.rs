use std::net::IpAddr;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use realtime_core::spi::Runtime;
use realtime_core::{ConnectRequest, Error, Identity, Refusal, Result};
use realtime_http::Rejection;
use realtime_http::spi::peer_of;

use crate::service::NotificationService;

/// An extractor of the caller's identity for routes of the application's own: it asks the service's
/// authenticator, as the ready-made routes do. The authenticator sees `"http"` as
/// [`ConnectRequest::provider`], and the client's address, as the proxies report it that a provider
/// trusts.
///
/// A request from a page that may not connect
/// ([`origins`](crate::NotificationServiceBuilder::origins)) is rejected, so that no other page
/// posts with its visitor's cookies. The service is a part of the router's state, see [`FromRef`].
///
/// ```
/// use axum::{Router, extract::State, routing::post};
/// use realtime_unified::{Caller, NotificationService, Rejection};
///
/// async fn say(
///     Caller(who): Caller,
///     State(service): State<NotificationService>,
///     text: String,
/// ) -> Result<(), Rejection> {
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
        self.identify_after(parts, |_, _| Ok(())).await
    }

    /// Identifies whoever makes a request that counts as a handshake.
    ///
    /// # Errors
    /// Those of [`NotificationService::identify`]; [`Error::Refused`] when there were too many.
    pub(crate) async fn identify_handshake(&self, parts: &Parts) -> Result<Identity> {
        self.identify_after(parts, |runtime, address| runtime.handshakes.check(address)).await
    }

    /// Asks the authenticator after the origin and this check of the client's address.
    async fn identify_after(
        &self,
        parts: &Parts,
        check: impl FnOnce(&Runtime, Option<IpAddr>) -> Result<(), Refusal> + Send,
    ) -> Result<Identity> {
        let runtime = self.runtime().ok_or_else(|| Error::NotAttached { provider: None })?;
        let address = self.client_address(parts);
        let seen = self.origins().without_foreign_cookies(parts);
        let request = ConnectRequest::new(HTTP, &seen).with_address(address);
        let identified = match self.origins().check(parts).and_then(|()| check(runtime, address)) {
            Ok(()) => runtime.identify(&request).await,
            Err(refusal) => Err(refusal),
        };
        Ok(identified.inspect_err(|refusal| log_refusal(runtime, parts, address, refusal))?)
    }

    /// Returns the address of the client that sent a request: the socket's peer, or what a proxy
    /// reports that a provider trusts.
    fn client_address(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = peer_of(parts)?.ip().to_canonical();
        let mut all = self.registry().iter().filter_map(|entry| entry.http.as_ref()?.trusted_proxies());
        all.find(|proxies| proxies.contains(peer)).map_or(Some(peer), |proxies| proxies.client(parts))
    }
}

fn log_refusal(runtime: &Runtime, parts: &Parts, address: Option<IpAddr>, refusal: &Refusal) {
    let Some(unlogged) = runtime.handshakes.log_turn() else { return };
    tracing::info!(
        path = parts.uri.path(),
        address = address.map(tracing::field::display),
        reason = refusal.code(),
        setting = refusal.setting(),
        detail = ?refusal.message(),
        unlogged = (unlogged > 0).then_some(unlogged),
        "request refused"
    );
}
