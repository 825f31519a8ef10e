//! The route of the event stream: requests in, streams out.

use std::sync::Arc;

use ::http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use ::http::request::Parts;
use ::http::{HeaderName, StatusCode, Version};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use realtime_core::spi::{Admitted, Dispatched, RefusedClient};
use realtime_core::{Identity, Refusal, RefusalKind};
use realtime_http::spi::{NO_TRANSFORM, ProviderOrigins, admit, admit_as, method_response, refusal_response};
use realtime_http::{HttpProvider, TrustedProxies, WireInfo};

use crate::codec;
use crate::outlet::Transport;
use crate::provider::SseProvider;
use crate::refresh;

/// The header that makes nginx, and proxies that adopted it, pass each event on immediately.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The methods of the route.
const METHODS: &str = "GET, HEAD, OPTIONS";

impl HttpProvider for SseProvider {
    fn router(self: Arc<Self>) -> axum::Router {
        let path = self.config().path.clone();
        let methods = get(stream).head(head).options(preflight).fallback(wrong_method);
        let router = axum::Router::new().route(&path, methods);
        let router = match refresh::path(&path) {
            Some(path) => router.route(&path, refresh::route()),
            None => router,
        };
        router.with_state(self)
    }

    fn paths(&self) -> Vec<String> {
        let path = self.config().path.clone();
        let refresh = refresh::path(&path);
        [Some(path), refresh].into_iter().flatten().collect()
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

impl SseProvider {
    /// Returns the event stream for a route of the application's own, which knows the user and the
    /// rooms to enter.
    ///
    /// The origin, the limits and `Last-Event-ID` (or `?lastEventId=`) count as on the provider's
    /// own route; the authenticator, the room policy and `?channel=` do not. A refusal is answered
    /// with its status, see [`refusal_response`](realtime_http::spi::refusal_response).
    pub async fn open(
        &self,
        request: Request,
        identity: Identity,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Response {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        open(self, &request.into_parts().0, identity, &rooms)
    }
}

/// Answers `GET` with the stream, or with the refusal.
async fn stream(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let admitted =
        admit(sse.dispatcher(), sse.origins().get(), &sse.config().trusted_proxies, &parts, last_event_id(&parts))
            .await;
    respond(&sse, &parts, admitted)
}

/// Answers `HEAD` with the headers that `GET` would have, without a connection; a refusal with its
/// status.
async fn head(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let admitted = admit(sse.dispatcher(), sse.origins().get(), &sse.config().trusted_proxies, &parts, None).await;
    match admitted {
        // A body of unknown length, as the stream's.
        Ok(_) => with_origin(&sse, &parts, event_stream(Body::from_stream(futures_util::stream::empty::<Never>()))),
        Err(refusal) => with_origin(&sse, &parts, refusal_response(&refusal)),
    }
}

type Never = Result<bytes::Bytes, std::convert::Infallible>;

/// Answers the preflight of a browser, which comes before a script of another page may send its own
/// headers (`fetch`, not `EventSource`).
async fn preflight(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let (parts, origins) = (request.into_parts().0, sse.origins().get());
    let mut response = match origins.check(&parts) {
        Ok(()) => (StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response(),
        Err(refusal) => {
            let address = sse.config().trusted_proxies.client(&parts);
            refusal_response(&sse.dispatcher().refuse(refusal, RefusedClient::at(address)))
        }
    };
    origins.allow_preflight(&parts, "GET", response.headers_mut());
    response
}

/// Answers any other method.
async fn wrong_method(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let address = sse.config().trusted_proxies.client(&parts);
    let refusal = Refusal::bad_request("an event stream requires the method GET");
    let refusal = sse.dispatcher().refuse(refusal, RefusedClient::at(address));
    with_origin(&sse, &parts, method_response(&refusal, METHODS))
}

/// Answers on a route of the application's own.
fn open(sse: &SseProvider, parts: &Parts, identity: Identity, rooms: &[String]) -> Response {
    let (config, cursor) = (sse.config(), last_event_id(parts));
    let admitted =
        admit_as(sse.dispatcher(), sse.origins().get(), &config.trusted_proxies, parts, identity, rooms, cursor);
    respond(sse, parts, admitted)
}

fn respond(sse: &SseProvider, parts: &Parts, admitted: Result<Admitted, Refusal>) -> Response {
    let response = match admitted {
        Ok(admitted) => event_stream(Body::new(sse.session(admitted, transport(sse, parts)))),
        // On any other status than 200 a browser's EventSource stops permanently (WHATWG HTML
        // §9.2.3).
        Err(refusal) if refusal.kind() == RefusalKind::Draining => {
            event_stream(Body::from(codec::retry(sse.dispatcher().current_drain().retry_delay())))
        }
        Err(refusal) => match refusal.retry_after().filter(|_| is_event_source(parts)) {
            Some(after) => event_stream(Body::from(codec::refusal(&refusal, after))),
            None => refusal_response(&refusal),
        },
    };
    with_origin(sse, parts, response)
}

/// Returns whether the request comes from an `EventSource`, as the standard defines it: it accepts
/// no other kind of response (WHATWG HTML §9.2.2) and no cache (Fetch §4.5, for its cache mode
/// `no-store`). It cannot send a token of its own.
fn is_event_source(parts: &Parts) -> bool {
    let has = |name: HeaderName, value: &[u8]| {
        parts.headers.get(name).is_some_and(|header| header.as_bytes().eq_ignore_ascii_case(value))
    };
    has(ACCEPT, b"text/event-stream") && has(CACHE_CONTROL, b"no-cache") && !parts.headers.contains_key(AUTHORIZATION)
}

fn transport(sse: &SseProvider, parts: &Parts) -> Option<Transport> {
    let ConnectInfo(info) = parts.extensions.get::<ConnectInfo<WireInfo>>()?;
    let direct = !sse.config().trusted_proxies.contains(info.peer().ip());
    Some(Transport {
        wire: Arc::clone(info.wire()),
        exclusive: parts.version < Version::HTTP_2,
        chunked: parts.version == Version::HTTP_11,
        direct,
    })
}

/// Returns an event stream. The end of the stream ends an HTTP/1.1 connection: a client that
/// reconnects opens another, which a load balancer can send to another node. (HTTP/2 omits the
/// header.)
fn event_stream(body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, NO_TRANSFORM),
        (X_ACCEL_BUFFERING, "no"),
        (CONNECTION, "close"),
    ];
    (headers, body).into_response()
}

fn with_origin(sse: &SseProvider, parts: &Parts, mut response: Response) -> Response {
    sse.origins().get().allow(parts, response.headers_mut());
    response
}

/// Returns the position that a reconnecting client names by itself; text of any kind, which is
/// parsed as a cursor later.
pub(crate) fn last_event_id(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(LAST_EVENT_ID)?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
