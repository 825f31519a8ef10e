//! Routes, and the checks before a request reaches Engine.IO: its origin, and whether the node
//! accepts new sessions.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use realtime_core::spi::{Dispatched, RefusedClient};
use realtime_core::{Refusal, RefusalKind};
use realtime_http::spi::{NO_TRANSFORM, ProviderOrigins, error_response, notice_foreign_server, refusal_response};
use realtime_http::{HttpProvider, TrustedProxies};

use crate::engine::query::{Query, SessionParam};
use crate::provider::SocketIoProvider;

/// Methods of long polling.
const METHODS: &str = "GET, POST";

impl HttpProvider for SocketIoProvider {
    fn router(self: Arc<Self>) -> axum::Router {
        let path = self.config().mount();
        let service = self.service();
        let mut router = axum::Router::new().route_service(&format!("{path}/"), service.clone());
        if !path.is_empty() {
            router = router.route_service(&path, service);
        }
        router.route_layer(axum::middleware::from_fn_with_state(self, check))
    }

    fn paths(&self) -> Vec<String> {
        self.config().paths()
    }

    fn origins(&self) -> Option<&ProviderOrigins> {
        Some(self.origins())
    }

    fn trusted_proxies(&self) -> Option<&TrustedProxies> {
        Some(&self.config().trusted_proxies)
    }

    fn is_ready(&self) -> bool {
        self.dispatcher().is_ready()
    }
}

/// Refuses foreign origins and, on a node that shuts down or is full, or above the rate of
/// handshakes, new sessions; answers preflights; adds the CORS headers.
async fn check(State(provider): State<Arc<SocketIoProvider>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    notice_foreign_server(&parts);
    let dispatcher = provider.dispatcher();
    let origins = provider.origins().get();
    let is_preflight = parts.method == Method::OPTIONS;
    let address = provider.config().trusted_proxies.client(&parts);
    let refuse = |refusal| dispatcher.refuse(refusal, RefusedClient::at(address));
    let checked = origins.check(&parts).map_err(refuse).and_then(|()| {
        if Query::read(parts.uri.query().unwrap_or_default(), &parts.headers).sid != SessionParam::None {
            return Ok(());
        }
        if dispatcher.is_draining() {
            return Err(refuse(Refusal::new(RefusalKind::Draining, "this node is shutting down")));
        }
        if !provider.has_room() {
            return Err(refuse(Refusal::new(RefusalKind::NodeLimit, "this node accepts no more connections")));
        }
        if is_preflight { Ok(()) } else { dispatcher.check_handshake(address) }
    });
    let mut headers = HeaderMap::new();
    if is_preflight {
        origins.allow_preflight(&parts, METHODS, &mut headers);
    } else {
        origins.allow(&parts, &mut headers);
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        }
    }
    let mut response = match checked {
        Err(refusal) => refusal_response(&refusal),
        // Fetch standard: a browser sends a preflight before a request with a content type of its
        // own.
        Ok(()) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => {
            if let Cow::Owned(without_cookies) = origins.without_foreign_cookies(&parts) {
                parts = without_cookies;
            }
            with_error_body(next.run(Request::from_parts(parts, body)).await)
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(NO_TRANSFORM));
    }
    response.headers_mut().extend(headers);
    response
}

/// Adds a body to an error response without one. Engine.IO's own errors keep their body, which its
/// clients parse.
fn with_error_body(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.body().size_hint().exact() != Some(0) {
        return response;
    }
    let (code, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the request is larger than allowed"),
        StatusCode::TOO_MANY_REQUESTS => ("rate_limited", "more messages per second than allowed"),
        status if status.is_server_error() => (RefusalKind::Internal.code(), "internal error"),
        _ => (RefusalKind::BadRequest.code(), "not a request of Engine.IO, or its session is closed"),
    };
    let mut with_error_body = error_response(status, code, message);
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    with_error_body.headers_mut().extend(parts.headers);
    with_error_body
}
