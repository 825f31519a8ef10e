//! What is checked before a request reaches Engine.IO: its origin, and whether the node still takes sessions.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use realtime_core::{Asker, Refusal, RefusalKind};
use realtime_http::{notice_foreign_server, refusal_response};

use crate::SocketIoProvider;

/// Refuses foreign pages and, on a node that goes down, new sessions; answers preflights; lets allowed pages read the answer.
pub(crate) async fn check(State(provider): State<Arc<SocketIoProvider>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    notice_foreign_server(&parts);
    let dispatcher = provider.dispatcher();
    let origins = &provider.config().origins;
    let checked = origins.check(&parts).and_then(|()| {
        let new = !parts.uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("sid="));
        if new && dispatcher.is_draining() {
            return Err(Refusal::new(RefusalKind::Draining, "this node is going down"));
        }
        if new && !provider.has_room() {
            return Err(Refusal::new(RefusalKind::NodeLimit, "this node takes no more connections"));
        }
        Ok(())
    });
    let mut cors = HeaderMap::new();
    origins.allow(&parts, &mut cors);
    let mut response = match checked {
        Err(refusal) => {
            let address = provider.config().trusted_proxies.client(&parts);
            refusal_response(&dispatcher.refuse(refusal, Asker { address, identity: None }))
        }
        // Fetch standard: a preflight asks before a request with a content type of its own.
        Ok(()) if parts.method == Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
    };
    if cors.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        cors.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        cors.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
    }
    response.headers_mut().extend(cors);
    response
}
